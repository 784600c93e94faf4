#!/usr/bin/env bash
# Install what the tests need into .venv, then run the linter, the type checker and all tests.
# Arguments go to pytest: bash tests/run.sh tests/test_transport.py -x
# With --latest as the first argument, newest packages are installed instead of those of constraints.txt.
set -euo pipefail
cd "$(dirname "$0")/.."

pins=(-c constraints.txt)
if [ "${1:-}" = --latest ]; then
    pins=()
    shift
fi

cat <<'TEXT'
This installs genser with all extras and the test tools into .venv in this folder (about 160 packages, 2.7 GB of disk)
and nothing outside it. The first installation takes about 3 minutes, then lint, types and all tests about 15 minutes
on two cores.
TEXT

[ -d .venv ] || "${PYTHON:-python3}" -m venv .venv
bin=.venv/bin
[ -d "$bin" ] || bin=.venv/Scripts # Windows
install=("$bin/python" -m pip install --quiet --no-compile) # Python compiles at an import, and few modules are imported
"${install[@]}" torch==2.13.0 # first and alone: as a dependency it may become a build for CUDA
"${install[@]}" ${pins[@]+"${pins[@]}"} torch==2.13.0 -e ".[all,dev]"

"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/pyrefly" check

if [ $# -gt 0 ]; then
    "$bin/python" -m pytest "$@"
else # the floor of the coverage holds for all tests together
    export OMP_NUM_THREADS=1 # a process per core
    "$bin/python" -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder -rs --durations=20 --cov --cov-report=term:skip-covered
fi
