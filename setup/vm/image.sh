#!/usr/bin/env bash
# Make a Debian 12 disk like that of a Vagrant box, with poplab set up in its /vagrant at this host's speed.
# It is kept in the cache folder under the hash of what decides its content; its folder is printed.
# Needs root, but neither KVM nor a loop device.
set -euo pipefail
cd "$(dirname "$0")/../.."

inputs=(setup/vm/image.sh setup/packages.sh setup/venv.sh setup/uv.lock requirements.lock pyproject.toml)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/poplab
made=$cache/vm-$(cat "${inputs[@]}" | sha256sum | cut -c1-12)
if [[ -e $made/disk.img ]]; then
    echo "vm: the disk in $made" >&2
    echo "$made"
    exit 0
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/vm-making.XXXXXX")
root=$work/root
sectors=$((10 * 1024 * 1024 * 2)) # 10 GB, sparse
first=2048                        # where the only partition begins
box=(
    linux-image-amd64 systemd-sysv udev dbus ifupdown isc-dhcp-client
    openssh-server sudo rsync netbase grub-pc-bin
)

tell() {
    echo "vm: $*" >&2
}

tidy() {
    for mount in proc dev/null dev/urandom; do
        umount --quiet "$root/$mount" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap tidy EXIT

# The packages that setup/packages.sh would install: here they come with the system.
ours() {
    sed -n '/^packages=(/,/^)/p' setup/packages.sh | grep -oE '\b[a-z][a-z0-9.+-]+' | grep -vx packages
}

inside() {
    chroot "$root" "$@"
}

install_system() {
    tell "installing Debian 12"
    local every
    every=$(IFS=,; echo "${box[*]}"),$(ours | paste -sd,)
    mmdebstrap --quiet --mode=root --variant=important --aptopt='APT::Install-Recommends "false"' \
        --include="$every" bookworm "$root" \
        "deb http://deb.debian.org/debian bookworm main" \
        "deb http://deb.debian.org/debian bookworm-updates main" \
        "deb http://deb.debian.org/debian-security bookworm-security main" >&2 || {
        tell "mmdebstrap could not install Debian 12: the lines above tell why"
        exit 1
    }
}

configure() {
    echo poplab >"$root/etc/hostname"
    printf '127.0.0.1 localhost\n127.0.1.1 poplab\n' >"$root/etc/hosts"
    printf 'auto lo\niface lo inet loopback\nallow-hotplug eth0\niface eth0 inet dhcp\n' >"$root/etc/network/interfaces"
    echo '/dev/vda1 / ext4 errors=remount-ro 0 1' >"$root/etc/fstab"
    echo 'UseDNS no' >"$root/etc/ssh/sshd_config.d/poplab.conf"
    inside systemctl --quiet disable openvswitch-switch 2>/dev/null || true
    if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then # whom this host trusts besides
        cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/"
        inside update-ca-certificates >/dev/null
    fi
}

add_user() {
    ssh-keygen -q -t ed25519 -N '' -C poplab-vm -f "$work/key"
    inside useradd --create-home --shell /bin/bash vagrant
    echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/vagrant"
    install -d -m 700 "$root/home/vagrant/.ssh"
    cp "$work/key.pub" "$root/home/vagrant/.ssh/authorized_keys"
    inside chown -R vagrant:vagrant /home/vagrant/.ssh
}

# What takes minutes in an emulated machine takes one here.
set_up() {
    tell "setting poplab up in it"
    git -c safe.directory="$PWD" ls-files -z | rsync -a --from0 --files-from=- --ignore-missing-args . "$root/vagrant/"
    inside chown -R vagrant:vagrant /vagrant
    mount -t proc proc "$root/proc"
    for node in null urandom; do
        [[ -e $root/dev/$node ]] || touch "$root/dev/$node"
        mount --bind "/dev/$node" "$root/dev/$node"
    done
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    inside su - vagrant -c 'export TMPDIR=/tmp UV_NO_CACHE=1 PIP_NO_CACHE_DIR=1; cd /vagrant && make setup' >&2
    for mount in proc dev/null dev/urandom; do
        umount "$root/$mount"
    done
    # Whoever boots it brings the sources of that day; what set-up made of these stays.
    git -c safe.directory="$PWD" ls-files -z | (cd "$root/vagrant" && xargs -0 rm -f)
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    : >"$root/etc/resolv.conf"
}

# GRUB in the gap before the partition, without a menu; the file system is filled by mkfs itself.
write_disk() {
    tell "writing the disk"
    local version disk=$work/disk.img
    version=$(basename "$root"/boot/vmlinuz-*)
    version=${version#vmlinuz-}
    mkdir -p "$root/boot/grub"
    cat >"$root/boot/grub/grub.cfg" <<GRUB
set timeout=0
linux /boot/vmlinuz-$version root=/dev/vda1 ro net.ifnames=0 console=tty0 console=ttyS0,115200 quiet
initrd /boot/initrd.img-$version
boot
GRUB
    inside grub-mkimage -O i386-pc -o /boot/grub/core.img -p '(hd0,msdos1)/boot/grub' biosdisk part_msdos ext2 normal linux
    truncate -s $((sectors * 512)) "$disk"
    echo "start=$first, type=83, bootable" | sfdisk --quiet "$disk"
    mkfs.ext4 -q -F -E offset=$((first * 512)) -d "$root" "$disk" $(((sectors - first) / 2))k
    dd if="$root/usr/lib/grub/i386-pc/boot.img" of="$disk" bs=440 count=1 conv=notrunc status=none
    dd if="$root/boot/grub/core.img" of="$disk" bs=512 seek=1 conv=notrunc status=none
}

install_system
configure
add_user
set_up
write_disk
rm -rf "$root"
mkdir "$work/whole"
mv "$work/disk.img" "$work/key" "$work/key.pub" "$work/whole/"
# Whole or not there; of two that were made at once, the first stays.
mv --no-target-directory "$work/whole" "$made" 2>/dev/null || [[ -e $made/disk.img ]]
tell "made in $SECONDS s: $(du -h "$made/disk.img" | cut -f1)"
echo "$made"
