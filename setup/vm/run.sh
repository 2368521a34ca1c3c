#!/usr/bin/env bash
# Boot the disk of setup/vm/image.sh, send this tree in, run what the Vagrantfile's provisioner runs, then a
# study over the kernel's own netem and datapath. The disk stays as it was, and nothing is left running.
# ACCEL=kvm or tcg chooses; without it KVM is tried, and emulation (slow, but true to function) comes after it.
set -euo pipefail
cd "$(dirname "$0")/../.."

image=$1
work=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
remote=(
    ssh -q -i "$work/key" -p "$port" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null
    -o ConnectTimeout=5 -o ServerAliveInterval=20
)
machine=

tell() {
    echo "vm: $*"
}

end() {
    if [[ -n $machine ]]; then
        kill "$machine" 2>/dev/null || true
        while kill -0 "$machine" 2>/dev/null; do
            sleep 0.1
        done
        machine=
    fi
}
trap 'end; rm -rf "$work"' EXIT

# boot ACCELERATOR CPU SECONDS: whether ssh answers within that time.
boot() {
    local began=$SECONDS
    qemu-system-x86_64 -machine q35 -accel "$1" -cpu "$2" -smp "${POPLAB_CPUS:-2}" -m 4096 \
        -display none -no-reboot -snapshot -serial "file:$work/serial.log" \
        -drive "file=$image/disk.img,if=virtio,format=raw,cache=unsafe" \
        -netdev "user,id=net,hostfwd=tcp:127.0.0.1:$port-:22" -device virtio-net-pci,netdev=net \
        -device virtio-rng-pci 2>"$work/qemu.log" &
    machine=$!
    disown "$machine" # its end is told by us
    while ((SECONDS - began < $3)) && kill -0 "$machine" 2>/dev/null; do
        if "${remote[@]}" vagrant@127.0.0.1 true; then
            tell "up after $((SECONDS - began)) s ($1)"
            return 0
        fi
        sleep 1
    done
    end
    return 1
}

start() {
    if [[ ${ACCEL:-kvm} == kvm && -w /dev/kvm ]]; then
        boot kvm host 90 && return
        tell "KVM does not run a stock kernel here"
    fi
    if [[ ${ACCEL:-tcg} == tcg ]]; then
        tell "emulating: slow, but true to function"
        boot tcg,thread=multi max 300 && return
    fi
    tail -n 20 "$work/serial.log" "$work/qemu.log" >&2 || true
    echo "vm: the machine did not answer by ssh: the lines above are its last words." >&2
    exit 1
}

vagrant() {
    "${remote[@]}" vagrant@127.0.0.1 "$@"
}

# The Vagrantfile's own words, so that they are written once.
provisioner() {
    sed -n '/<<~SHELL/,/^ *SHELL$/p' Vagrantfile | sed '1d;$d'
}

install -m 600 "$image/key" "$work/key"
start
git -c safe.directory="$PWD" ls-files -z | rsync -a --from0 --files-from=- --ignore-missing-args -e "${remote[*]}" . vagrant@127.0.0.1:/vagrant
tell "what the provisioner runs"
provisioner | vagrant bash -s
tell "reachability over netem and the kernel's datapath"
code=0
vagrant 'cd /vagrant && sudo .venv/bin/poplab run reachability --clock real --links netem --datapath kernel' || code=$?
if [[ $code -eq 3 ]]; then
    tell "all is reached; times cannot be judged in a machine as slow as this one"
elif [[ $code -ne 0 ]]; then
    mkdir -p results/vm
    rsync -a -e "${remote[*]}" vagrant@127.0.0.1:/vagrant/results/ results/vm/
    tell "its run folders are in results/vm"
    exit "$code"
fi
tell "done in $SECONDS s"
