#!/usr/bin/env bash
# Runs the tests against real peers: run.sh PROGRAM, the vramgate to test. ctest's test envoy_peer_test.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

venv=$("$here/setup.sh")
export VRAMGATE=$1
export PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" -m pytest -p no:cacheprovider --strict-markers -v "$here"/*_test.py
