#!/usr/bin/env bash
# Run a command as root: directly, or through sudo.
set -euo pipefail

if [[ $EUID -eq 0 ]]; then
    exec "$@"
elif command -v sudo >/dev/null; then
    exec sudo "$@"
fi
echo "setup: '$1' needs root and there is no sudo: run this make target as root." >&2
exit 1
