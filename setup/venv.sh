#!/usr/bin/env bash
# Make .venv: the locked packages, and the project itself as an editable install.
set -euo pipefail
cd "$(dirname "$0")/.."

fits() {
    "$1" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
        2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-/usr/bin/python3 python3.13 python3.12 python3.11 python3}; do
        if fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    echo "setup: no Python 3.11 to 3.13 with venv${PYTHON:+ at $PYTHON}: install one, or name it with 'make setup PYTHON=/path/to/python3'." >&2
    return 1
}

# A virtual environment of another Python (or half a one) is made anew; a good one is brought up to date.
if ! fits .venv/bin/python || [[ -n "${PYTHON:-}" ]]; then
    python=$(find_python)
    "$python" -m venv --clear .venv
fi

echo "setup: Python packages into .venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1
# Trust whom the host trusts, as pip does: a company's proxy signs with its own certificate.
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}"
.venv/bin/python -m pip install --quiet --require-hashes -r setup/uv.lock
# Compiled here, once: every program of a lab would compile what it imports again and again where
# the user may not write, or has told Python not to.
.venv/bin/uv pip install --quiet --compile-bytecode --python .venv --require-hashes -r requirements.lock
.venv/bin/uv pip install --quiet --python .venv --no-deps --no-build-isolation --editable .
.venv/bin/python -W ignore -m compileall -q topologies controller experiments
