#!/usr/bin/env bash
# Install what the tests need into a virtual environment of their own, and run them all.
set -euo pipefail
cd "$(dirname "$0")/.."

if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] && ! command -v chromium >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver espeak-ng >/dev/null
fi

python3 -m venv .venv
.venv/bin/pip install --quiet torch==2.13.0 # first and alone, so that nothing below brings a CUDA build
.venv/bin/pip install --quiet torch==2.13.0 -e ".[all,dev]"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/python -m pytest "$@"
