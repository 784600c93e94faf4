#!/usr/bin/env bash
# Install what the tests need into .venv, then run the linter, the type checker and all tests.
# Arguments go to pytest: bash tests/run.sh tests/test_transport.py -x
# First arguments: --latest installs the newest packages instead of those of constraints.txt; --coverage also measures
# which lines all tests together reach, and holds the floor in pyproject.toml. That takes half as long again.
set -euo pipefail
cd "$(dirname "$0")/.."

pins=(-c constraints.txt)
coverage=()
while [ "${1:-}" = --latest ] || [ "${1:-}" = --coverage ]; do
    [ "$1" = --latest ] && pins=() || coverage=(--cov --cov-report=term:skip-covered)
    shift
done

cat <<'TEXT'
This installs genser with all extras and the test tools into .venv in this folder (about 190 packages, 2.7 GB of disk)
and nothing outside it. The first installation takes about 3 minutes, then lint, types and all tests about 14 minutes
on two cores.
TEXT

unset PYTHONDONTWRITEBYTECODE # hundreds of processes read what the first one has compiled

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
else
    export OMP_NUM_THREADS=1 # a process per core
    "$bin/python" -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder -rs --durations=20 \
        ${coverage[@]+"${coverage[@]}"}
fi
