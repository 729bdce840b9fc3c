#!/usr/bin/env bash
# Puts the peers of requirements.txt (the real Envoy among them, 37 MB) into a virtual environment outside of the tree, once for
# each version of that file, and prints its path. A failure to fetch them is a failure, not a reason to skip.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

version=$(sha256sum <"$here/requirements.txt" | cut -c 1-16)
venv=${XDG_CACHE_HOME:-$HOME/.cache}/vramgate/venv-$version
if [ ! -e "$venv/complete" ]; then
  mkdir -p "$(dirname "$venv")"
  exec 9>"$venv.lock"
  flock 9  # two may be asked for at once
fi
if [ ! -e "$venv/complete" ]; then
  echo "tests/peers: installing $(grep -c == "$here/requirements.txt") packages into $venv" >&2
  rm -rf "$venv"
  python3 -m venv "$venv"
  # Not the caller's stdout: that is for the path.
  "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r "$here/requirements.txt" >&2
  touch "$venv/complete"
fi
echo "$venv"
