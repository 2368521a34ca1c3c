#!/usr/bin/env bash
# Lock the Debian packages of the guest's hermetic root: bookworm's main suite, which no longer changes.
# Needs apt and Debian's keyring; the host's own package sources are not touched.
set -euo pipefail
cd "$(dirname "$0")/.."

lock=topologies/emulation/sandbox/uml/root.lock
packages=(
    base-files base-passwd libc-bin netbase dash coreutils findutils grep sed mawk
    mount util-linux procps iproute2 ethtool iputils-ping curl iperf3 tcpdump nftables
    python3.11 libstdc++6 openvswitch-switch frr
)
unneeded='^(perl|libperl|lib.*-perl_|dpkg_|debconf_|usrmerge_|adduser_|init-system-helpers_|openssl_|tar_|uuid-runtime_|passwd_|python3-|media-types|cron|logrotate_|lsof_|libpam-runtime_|libpopt0_|sensible-utils_)'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/state/lists/partial "$work"/cache/archives/partial
: >"$work/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main" >"$work/sources.list"

apt() {
    apt-get -qq -o Dir::State="$work/state" -o Dir::State::status="$work/status" -o Dir::Cache="$work/cache" \
        -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User=root \
        -o APT::Architecture=amd64 -o APT::Architectures=amd64 -o Acquire::ForceHash=SHA256 "$@"
}

apt update
{
    echo "# The Debian packages of the guest's hermetic root, by hash; \`make lock\` renews them."
    echo "snapshot=$(date --utc +%Y%m%dT000000Z)"
    {
        apt install --no-install-recommends --print-uris --yes "${packages[@]}"
        apt download --print-uris mininet # for mnexec alone, without what it depends on
    } | grep -Ev "^'[^']*/pool/[^']*/(${unneeded#^(}" |
        sed -n "s|^'http://deb.debian.org/debian/\([^']*\)' .* SHA256:\([0-9a-f]*\)\$|\2  \1|p" | sort -k 2
} >"$lock"
