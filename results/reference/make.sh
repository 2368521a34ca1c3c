#!/usr/bin/env bash
# Make the reference runs again: `make reference`. Equal code and an equal kernel give equal files, on any
# host, but for the times and the revision in the manifest. Those of the README are whole; of every other
# study there is a quick one.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
cd "$here/../.."

made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

run() { .venv/bin/poplab run "$@" --results "$made"; }
in_lab() { run "$@" --clock virtual --root hermetic; }

place() { # STUDY NETWORK: the run under its name, without what is of this host
    local to=$here/$1-$2
    rm -rf "$to"
    mv "$made/$1"/* "$to"
    rm -r "$to/logs" "$to/report.html"
    sed -i "s|^ \"run\": .*| \"run\": \"results/reference/$1-$2\",|" "$to/result.json"
}

whole="latency borrowing"
computed="internet" # without a lab
routed="announcing convergence inflation playbook" # where routers speak BGP
quick=$(.venv/bin/python -c "from experiments.study import STUDIES; print(*set(STUDIES) - set('$whole $computed $routed'.split()))")
# A manifest says whether the tree was clean: nothing is replaced before all have been made.
for study in $whole; do in_lab "$study" --network europe; done
for study in $quick; do in_lab "$study" --network triangle --quick; done
for study in $routed; do in_lab "$study" --network tiers --quick; done
for study in $computed; do run "$study" --network triangle --quick; done
for study in $whole; do place "$study" europe; done
for study in $quick $computed; do
    place "$study" triangle
    rm "$here/$study-triangle"/*.svg
done
for study in $routed; do
    place "$study" tiers
    rm "$here/$study-tiers"/*.svg
done
