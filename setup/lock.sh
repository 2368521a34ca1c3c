#!/usr/bin/env bash
# Lock every Python package, with hashes, for all the Python versions that the project supports.
# `fewest` keeps one version of a package for all of them, so that results do not depend on it.
set -euo pipefail
cd "$(dirname "$0")/.."

compile() {
    .venv/bin/uv pip compile --quiet --no-header --universal --python-version 3.11 \
        --fork-strategy fewest --generate-hashes "$@"
}

compile --upgrade --extra dev pyproject.toml --output-file requirements.lock
setup/lock-root.sh
compile --upgrade setup/uv.in --output-file setup/uv.lock
