#!/usr/bin/env bash
# Build the guest's kernel: build.sh FOLDER [SOURCE.deb] leaves FOLDER/linux and FOLDER/facts.
#
# The source is the Debian package that `source` pins, taken from the host's mirror or, when the mirror
# has moved on, from Debian's archive of all packages. If neither has it, the newest kernel source of
# Debian's backports is built, and the facts say so. The host's own package sources are not touched.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
out=$(realpath -m "$1")
given=${2:-}
suite=trixie-backports
helper=/usr/lib/apt/apt-helper
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
objects=1190 # compiled for this configuration, for the progress shown

version='' file='' sha256='' sha1=''
# shellcheck source=/dev/null
. "$here/source"

say() { echo "kernel: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

progress() { # of the compiler's lines on standard input
    local kind compiled=0
    while read -r kind _; do
        [[ $kind != CC && $kind != AS ]] || ((++compiled % 100)) || say "$compiled of about $objects files"
    done
}

missing=()
for program in gcc make flex bison bc xz patch dpkg-deb tar nm strip; do
    command -v "$program" >/dev/null || missing+=("$program")
done
[[ ${#missing[@]} -eq 0 ]] || fail "missing: ${missing[*]}: run 'make virtual', which installs them."

work=$(mktemp -d "${TMPDIR:-/var/tmp}/poplab-kernel.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

# Debian's mirror as this host knows it; Ubuntu's has no such package.
mirror=$(sed -n 's/^URIs: *\([^ ]*debian\)\/* *$/\1/p; s/^deb \(\[[^]]*\] \)\?\([^ ]*debian\)\/* .*/\2/p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null | head -n 1) || true
mirror=${mirror:-http://deb.debian.org/debian}

fetch() { # URL: the pinned package, if it is there and is the one that is pinned
    "$helper" -o Acquire::Retries=2 -o Acquire::http::Timeout=20 -o APT::Sandbox::User=root \
        download-file "$1" source.deb "SHA256:$sha256" >fetch.log 2>&1
}

newest() { # what the mirror has instead, verified by Debian's signature
    [[ -r $keyring ]] || return 1
    mkdir -p apt/state/lists/partial apt/cache/archives/partial
    echo "deb [signed-by=$keyring] $mirror $suite main" >apt/sources.list
    local apt=(-qq -o Dir::State="$work/apt/state" -o Dir::Cache="$work/apt/cache"
        -o Dir::Etc::sourcelist="$work/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o APT::Sandbox::User=root)
    apt-get "${apt[@]}" update >apt.log 2>&1 || return 1
    local package
    package=$(apt-cache "${apt[@]}" search --names-only '^linux-source-[0-9.]+$' | cut -d' ' -f1 | sort -V | tail -n 1)
    [[ -n $package ]] && apt-get "${apt[@]}" download "$package" >>apt.log 2>&1 || return 1
    mv "$package"_*.deb source.deb
}

if [[ -n $given ]]; then
    cp "$given" source.deb
elif [[ -x $helper ]]; then
    say "fetching the source of Linux $version (165 MB)"
    fetch "$mirror/pool/main/l/linux/${file//\~/%7e}" ||
        fetch "http://snapshot.debian.org/file/$sha1" ||
        newest || fail "neither $mirror nor snapshot.debian.org has $file: fetch it elsewhere and run 'make virtual SOURCE=/path/to/it'."
else
    fail "this host has no apt to fetch $file with: fetch it and run 'make virtual SOURCE=/path/to/it'."
fi
if ! sha256sum --status --check <<<"$sha256  source.deb"; then
    version=$(dpkg-deb --field source.deb Version)
    say "$version stands in for the pinned source: runs will differ from those of the pinned kernel"
fi

say "unpacking"
dpkg-deb --extract source.deb deb
rm source.deb
mkdir linux
tar --extract --file deb/usr/src/linux-source-*.tar.xz --directory linux --strip-components 1
rm -r deb
cd linux
patch --quiet -p1 <"$here/guest.patch" || fail "the patch does not fit Linux $version."

# Equal sources give equal kernels, wherever and whenever they are built.
export KBUILD_BUILD_TIMESTAMP=2026-01-01 KBUILD_BUILD_USER=poplab KBUILD_BUILD_HOST=poplab KBUILD_BUILD_VERSION=1
make --silent ARCH=um KCONFIG_ALLCONFIG="$here/kernel.config" allnoconfig
say "compiling on $(nproc) cores: some minutes"
nice make ARCH=um --jobs "$(nproc)" linux 2>../make.log |
    progress ||
    { tail -n 20 ../make.log >&2; fail "the compiler failed: the lines above tell why."; }

mkdir -p "$out"
{
    echo "version=$version"
    echo "release=$(make --silent ARCH=um kernelrelease)"
    nm linux | sed -n 's/^\([0-9a-f]*\) . \(time_travel_time\|cpu_tasks\|init_task\)$/\2=0x\1/p'
} >"$out/facts"
strip -o "$out/linux" linux
