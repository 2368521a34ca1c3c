#!/usr/bin/env bash
# Install the Debian packages that are missing, those that are named too; do nothing when all are there.
# Open vSwitch comes with a service that poplab does not need (a lab runs its own): it is not started,
# and one that is already installed is left as it is.
set -euo pipefail

packages=(
    mininet openvswitch-switch iproute2 ethtool iputils-ping util-linux procps
    gcc libc6-dev make python3-venv nftables
    ca-certificates curl iperf3 tcpdump traceroute
    "$@"
)

if ! command -v apt-get >/dev/null; then
    for program in mnexec ovs-vswitchd ip tc ethtool ping unshare gcc curl iperf3 tcpdump nft; do
        if ! command -v "$program" >/dev/null; then
            echo "setup: $program is missing and this is no Debian or Ubuntu: install what Debian calls ${packages[*]}." >&2
            exit 1
        fi
    done
    exit 0
fi

installed=$(dpkg-query --show --showformat '${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null || true)
missing=()
for package in "${packages[@]}"; do
    grep -qx "$package installed" <<<"$installed" || missing+=("$package")
done
if [[ ${#missing[@]} -eq 0 ]]; then
    exit 0
fi

echo "setup: installing ${missing[*]}"
root=$(dirname "$0")/root.sh
policy=/usr/sbin/policy-rc.d
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' | "$root" install -m 755 /dev/stdin "$policy"
    trap '"$root" rm -f "$policy"; rm -f "$log"' EXIT
fi

apt() {
    "$root" env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
        apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "$@"
}
if ! { apt update && apt install --yes --no-install-recommends --no-upgrade "${missing[@]}"; } >"$log" 2>&1; then
    cat "$log" >&2
    echo "setup: apt-get could not install ${missing[*]}: the lines above tell why." >&2
    exit 1
fi
