#!/usr/bin/env bash
# Puts the peers of a requirements.txt (the real Envoy among them, 37 MB) into a virtual environment outside of the tree, once for
# each version of that file, and prints its path: setup.sh [FILE], by default the one beside this script. A failure to fetch them is
# a failure, not a reason to skip.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
requirements=${1-$here/requirements.txt}

version=$(sha256sum <"$requirements" | cut -c 1-16)
venv=${XDG_CACHE_HOME:-$HOME/.cache}/vramgate/venv-$version
if [ ! -e "$venv/complete" ]; then
  mkdir -p "$(dirname "$venv")"
  exec 9>"$venv.lock"
  flock 9  # two may be asked for at once
fi
if [ ! -e "$venv/complete" ]; then
  echo "tests/peers: installing $(grep -c == "$requirements") packages into $venv" >&2
  rm -rf "$venv"
  python3 -m venv "$venv"
  # Not the caller's stdout: that is for the path.
  "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r "$requirements" >&2
  # A second version of a package that the first has: `# beside: NAME==VERSION` puts it into a directory of its own.
  sed -nE 's/^# beside: //p' "$requirements" | while read -r package; do
    "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --no-deps --target "$venv/$package" "$package" >&2
  done
  touch "$venv/complete"
fi
echo "$venv"
