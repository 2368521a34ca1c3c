#!/usr/bin/env bash
# Check the scripts and the Vagrantfile with the tools that happen to be installed.
set -euo pipefail
cd "$(dirname "$0")/.."

if command -v shellcheck >/dev/null; then
    shellcheck setup/*.sh setup/vm/*.sh results/reference/make.sh topologies/emulation/sandbox/uml/build.sh .ci/run
fi
if command -v ruby >/dev/null; then
    ruby -c Vagrantfile >/dev/null
fi
if command -v vagrant >/dev/null; then
    vagrant validate --ignore-provider >/dev/null
fi
