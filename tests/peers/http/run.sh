#!/usr/bin/env bash
# Runs the tests of the HTTP door's peers: run.sh PROGRAM [PYTEST OPTION ...], the vramgate to test. ctest's http_peer_test.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

mapfile -t fetched < <("$here/setup.sh")
[ ${#fetched[@]} -eq 2 ] || exit 1
VRAMGATE=$(readlink -f "$1")
export VRAMGATE NGINX_ROOT=${fetched[1]} PYTHONDONTWRITEBYTECODE=1
shift
exec "${fetched[0]}/bin/python" -m pytest -p no:cacheprovider -p no:schemathesis --strict-markers -v "$here" "$@"
