#!/usr/bin/env bash
# pools/guest.sh FOLDER MEMORY_MIB CPUS THREADS NAME=VALUE...: boots one guest with the hooks; what it left goes to FOLDER.
#
# THREADS: single (all CPUs in turn on one thread), or multi (each on its own). NAME=VALUE pairs go to guest/init on the
# kernel's command line. From the environment: TIMEOUT (s), NICE.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

[ $# -ge 4 ] || fail "guest.sh: too few arguments" "guest.sh FOLDER MEMORY_MIB CPUS single|multi [NAME=VALUE...]"
folder=$1 memory=$2 cpus=$3 threads=$4
shift 4
kernel=/lab/pools/build/vmlinux
[ -e "$DEBIAN$kernel" ] || fail "there is no kernel with the hooks in $LAB" "run make lab-pools (with the same LAB=)"

work=/lab/pools/guest.$$ # as seen inside
mkdir -p "$DEBIAN$work" "$folder"
trap 'rm -rf "$DEBIAN$work"' EXIT
truncate -s 2G "$DEBIAN$work/disk" # nothing but zeros: page cache
inside nice -n "${NICE:-10}" timeout -k 5 "${TIMEOUT:-600}" qemu-system-x86_64 -machine q35 -cpu max -accel "tcg,thread=$threads" -smp "$cpus" \
    -m "$memory" -kernel "$kernel" -initrd /lab/pools/initramfs -append "console=ttyS0 panic=-1 loglevel=4 no_timer_check $*" \
    -display none -vga none -nic none -no-reboot -monitor none -serial "file:$work/console" \
    -drive "file=$work/disk,format=raw,if=virtio,readonly=on" -device virtio-serial-pci \
    -chardev "file,id=c1,path=$work/out" -device virtserialport,chardev=c1,nr=1 \
    -chardev "file,id=c2,path=$work/trace.txt" -device virtserialport,chardev=c2,nr=2 2> "$DEBIAN$work/errors" \
    || fail "the guest did not end by itself: $(tail -n 1 "$DEBIAN$work/errors")" \
        "the end of its console: $(tail -n 1 "$DEBIAN$work/console" | tr -d '\r')"
tr -d '\r' < "$DEBIAN$work/console" > "$folder/console"
tar -x -C "$folder" --no-same-owner --warning=no-timestamp -f "$DEBIAN$work/out" \
    || fail "the output of the guest cannot be read" "look at $folder/console"
mv "$DEBIAN$work/trace.txt" "$folder"
! grep -q LAB-FAILED "$folder/console" || fail "$(grep LAB-FAILED "$folder/console")" "look at $folder/console"
grep -E "BUG|WARNING|Oops|allocation failure|Out of memory|soft lockup|LAB-DONE|work: " "$folder/console" >&2 || true
