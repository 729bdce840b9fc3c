#!/usr/bin/env bash
# Tests the Python package (run.sh test [PYTEST OPTION ...], ctest's plugin_python_test), or checks its style and types (run.sh
# lint). Both in a virtual environment outside of the tree, made once for each version of requirements.txt.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
package=$(cd "$here/../../../plugin/python" && pwd)

version=$(sha256sum <"$here/requirements.txt" | cut -c 1-16)
venv=${XDG_CACHE_HOME:-$HOME/.cache}/vramgate/python-$version
mkdir -p "$(dirname "$venv")"
exec 9>"$venv.lock"
flock 9 # two may be asked for at once
if [ ! -e "$venv/complete" ]; then
  echo "tests/plugin/python: installing $(grep -c == "$here/requirements.txt") packages into $venv" >&2
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --no-deps -r "$here/requirements.txt" >&2
  touch "$venv/complete"
fi
flock -u 9

what=$1
shift
export PATH=$venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
case $what in
  test)
    python "$package/generate.py" --check
    PYTHONPATH=$package exec python -m pytest -p no:cacheprovider --strict-markers -q "$here" "$@"
    ;;
  lint)
    tests=("$here" "$here/../../vllm" "$here/../../peers/http")
    settings=$package/pyproject.toml
    ruff check --no-cache --quiet --config "$settings" "$package" "${tests[@]}"
    ruff format --no-cache --check --quiet --config "$settings" "$package" "${tests[@]}"
    cd "$package"
    mypy --no-incremental --cache-dir=/dev/null vramgate generate.py
    ;;
  *)
    echo "usage: run.sh test|lint" >&2
    exit 2
    ;;
esac
