#!/usr/bin/env bash
# Runs the tests of the Triton plugins: run.sh PROGRAM BUILD [PYTEST ARGUMENT ...], the vramgate to test and the build directory with
# the plugins. ctest's test triton_peer_test.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

paths=$("$here/install.sh")
path_of() { sed -n "s|^$1=||p" <<<"$paths"; }
TRITON_VENV=$(path_of venv)
TRITON_2_51=$(path_of 2.51)
TRITON_2_41=$(path_of 2.41)
export TRITON_VENV TRITON_2_51 TRITON_2_41
VRAMGATE=$(realpath "$1")
export VRAMGATE
export VRAMGATE_TRITON_BACKENDS=$2/plugin/triton/backends:$2/tests/peers/triton/backends
export VRAMGATE_TRITON_REPOAGENTS=$2/plugin/triton/repoagents
export PYTHONDONTWRITEBYTECODE=1
shift 2
exec "$TRITON_VENV/bin/python" -m pytest -p no:cacheprovider --strict-markers -v --durations=5 "$here" "$@"
