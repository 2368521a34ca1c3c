#!/usr/bin/env bash
# Pack the disk of setup/vm/image.sh as a Vagrant box for libvirt, and print the command that adds it.
set -euo pipefail

image=$1
box=$image/poplab.box
work=$(mktemp -d "$image/box-making.XXXXXX")
trap 'rm -rf "$work"' EXIT

qemu-img convert -c -O qcow2 "$image/disk.img" "$work/box.img"
echo '{"provider": "libvirt", "format": "qcow2", "virtual_size": 10}' >"$work/metadata.json"
cp "$image/key" "$work/key"
cat >"$work/Vagrantfile" <<'RUBY'
Vagrant.configure("2") { |config| config.ssh.private_key_path = File.expand_path("key", __dir__) }
RUBY
tar -C "$work" -czf "$work/poplab.box" metadata.json Vagrantfile key box.img
mv "$work/poplab.box" "$box"
echo "vagrant box add --name poplab $box && POPLAB_BOX=poplab vagrant up --provider libvirt"
