#!/bin/sh
# Fetches NVIDIA's CUDA runtime (headers and libcudart_static.a; no compiler, no driver) for FindCudaRuntime.cmake.
#
#   cmake/fetch_cuda_runtime.sh DEST      # fills DEST/nvidia/cu13/{include,lib}; does nothing when they are there
#
# Needs python3 with pip; as a plain user, in no virtual environment: `pip download` installs nothing, so Debian's
# externally-managed rule does not touch it. The wheels come from the package index that pip is configured for and are
# checked against the hashes below (x86_64 and aarch64). Their licence (the CUDA Toolkit EULA) is unpacked with them.
set -eu

VERSION=13.5.37

if [ $# -ne 1 ] || [ -z "$1" ]; then
  echo "usage: $0 DEST" >&2
  exit 2
fi
dest=$1
stamp=$dest/.cuda-runtime-$VERSION
if [ -e "$stamp" ]; then
  exit 0
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
  echo "$0: python3 with pip is needed to fetch the CUDA runtime: apt-get install python3-pip" >&2
  exit 1
fi

# Unpacked beside DEST and moved there whole, so that an interrupted run leaves nothing half done.
mkdir -p "$dest"
work=$(mktemp -d "$dest/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

cat >"$work/requirements.txt" <<EOF
nvidia-cuda-runtime==$VERSION \
    --hash=sha256:df2b79a8852f10d1fef8c848489c49eebb5754051bf870202a862831412b179d \
    --hash=sha256:de2dc5a7367974228b0a69588a9acc9340d3768bef1bf38bf0801eb08497cd2d
nvidia-cuda-crt==$VERSION \
    --hash=sha256:e898b7f73d3035fa89915a3f7bf3b54a73e90249746111aed295822c4729bb29 \
    --hash=sha256:9ed2c565fdf3244fa6719769a80a466b85bfd4b1467ea339353bc91c971d09e0
EOF
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
  --dest "$work/wheels" --requirement "$work/requirements.txt"
for wheel in "$work"/wheels/*.whl; do
  python3 -m zipfile -e "$wheel" "$work/tree"
done
test -e "$work/tree/nvidia/cu13/include/cuda_runtime_api.h"
test -e "$work/tree/nvidia/cu13/include/crt/host_defines.h"
test -e "$work/tree/nvidia/cu13/lib/libcudart_static.a"

for entry in "$work"/tree/*; do
  rm -rf "${dest:?}/$(basename "$entry")"
  mv "$entry" "$dest/"
done
touch "$stamp"
