#!/usr/bin/env bash
# Fetches LiteLLM and schemathesis (from PyPI, for each version of requirements.txt) and Debian's nginx with njs (unpacked, not
# installed: no service is started) to places outside of the tree, once; prints the virtual environment and nginx's root. A failure
# to fetch them is a failure, not a reason to skip.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

cache=${XDG_CACHE_HOME:-$HOME/.cache}/vramgate
version=$(sha256sum <"$here/requirements.txt" | cut -c 1-16)
venv=$cache/http-$version
nginx=$cache/nginx-1
mkdir -p "$cache"
exec 9>"$cache/http.lock"
flock 9 # two may be asked for at once

if [ ! -e "$venv/complete" ]; then
  echo "tests/peers/http: installing $(grep -c == "$here/requirements.txt") packages into $venv" >&2
  rm -rf "$venv"
  python3 -m venv "$venv"
  # Not the caller's stdout: that is for the paths.
  "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --no-deps -r "$here/requirements.txt" >&2
  touch "$venv/complete"
fi

fetch_nginx() {
  rm -rf "$nginx"
  mkdir -p "$nginx/root"
  (cd "$nginx" && apt-get -qq download nginx libnginx-mod-http-js) >&2 || return 1
  for package in "$nginx"/*.deb; do dpkg-deb -x "$package" "$nginx/root"; done
}

if [ ! -e "$nginx/complete" ]; then
  echo "tests/peers/http: fetching nginx and its njs module into $nginx" >&2
  if ! fetch_nginx; then
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then as_root=(sudo); fi
    "${as_root[@]}" apt-get -qq -o DPkg::Lock::Timeout=120 update >&2
    fetch_nginx
  fi
  touch "$nginx/complete"
fi
printf '%s\n%s\n' "$venv" "$nginx/root"
