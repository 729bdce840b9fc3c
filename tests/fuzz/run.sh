#!/usr/bin/env bash
# Runs one fuzzer that `./dev fuzz` or `./dev test` has built; ctest calls this for ten seconds each.
#
#   tests/fuzz/run.sh NAME SECONDS [KEEP_DIR]   KEEP_DIR: where inputs that reach new code are kept for the next run
#
# Exit status 0: nothing found; 77: not built. An input that breaks the target is left in build/fuzz/found/, and what it
# broke is printed. Once mended, the input belongs into tests/fuzz/corpus/NAME/. The canary has to break.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.."

name=$1 seconds=$2 keep=${3-}
program=build/fuzz/tests/fuzz/fuzz_$name
if [ ! -x "$program" ]; then
  echo "$program is not built: ./dev fuzz builds it, with clang" >&2
  exit 77
fi
found=build/fuzz/found
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$found"

options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=256 -max_len=16384
  -print_final_stats=1 -verbosity=1 -error_exitcode=1)  # its own would be 77, which ctest takes for "not built"
corpus=("${keep:-$scratch}" "tests/fuzz/corpus/$name")
if [ -n "$keep" ]; then mkdir -p "$keep"; fi
case $name in
  model_config) corpus+=(tests/data/models) ;;
  engine_log | metrics_page) corpus+=(tests/data/engines) ;;
  trace) corpus+=(tests/data/traces) ;;
esac
if [ -e "tests/fuzz/$name.dict" ]; then options+=(-dict="tests/fuzz/$name.dict"); fi

if [ "$name" = canary ]; then
  if "$program" "${options[@]}" -artifact_prefix="$scratch/" "${corpus[@]}" >"$scratch/log" 2>&1; then
    echo "the canary was not found out in $seconds seconds: whatever the other fuzzers say, they see nothing" >&2
    exit 1
  fi
  grep -m1 -E 'ERROR: AddressSanitizer: heap-buffer-overflow' "$scratch/log"
  exit 0
fi
"$program" "${options[@]}" -artifact_prefix="$found/$name-" "${corpus[@]}"
