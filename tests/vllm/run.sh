#!/usr/bin/env bash
# Runs the tests of the gate in a real vLLM: run.sh PROGRAM [PYTEST OPTION ...], PROGRAM being the vramgate to test. Or, with
# `bench` before the program, the benchmark. `./dev test vllm` and `./dev bench vllm` call it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

what="test"
if [ "$1" = bench ]; then
  what="bench"
  shift
fi
VRAMGATE=$(readlink -f "$1")
shift
venv=$("$here/setup.sh")
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
# From a copy: pip leaves a build directory where it builds.
cp -r "$here/../../plugin/python" "$site/source"
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$site/packages" "$site/source" >&2
export VRAMGATE PYTHONPATH=$site/packages:$here PYTHONDONTWRITEBYTECODE=1
if [ "$what" = bench ]; then
  "$venv/bin/python" "$here/bench.py" "$@"
else
  "$venv/bin/python" -m pytest -p no:cacheprovider --strict-markers -v --durations=5 "$here" "$@"
fi
