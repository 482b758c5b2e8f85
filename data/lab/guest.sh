#!/usr/bin/env bash
# guest.sh KERNEL MEMORY_MIB CPUS FOLDER JOB [NAME=VALUE...]: boots one guest, which does a job and switches itself off.
#
# The guest's /out is unpacked into FOLDER; its console is FOLDER/console. NAME=VALUE pairs go to the job on the kernel's
# command line. From the environment: TIMEOUT (s), PERF=1 (add perf to the guest), MORE (an archive to add),
# DETERMINISTIC=1 (amd64: time is counted in instructions, and the same files give the same bytes).
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

[ $# -ge 5 ] || fail "guest.sh: too few arguments" "guest.sh KERNEL MEMORY_MIB CPUS FOLDER JOB [NAME=VALUE...]"
kernel=$1 memory=$2 cpus=$3 folder=$4 job=$5
shift 5
[ -e "$DEBIAN/lab/$kernel/initramfs" ] || fail "there is no kernel $kernel in $LAB" "run make lab (with the same LAB=)"

work=/lab/guest.$$ # as seen inside
mkdir -p "$DEBIAN$work"
trap 'rm -rf "$DEBIAN$work"' EXIT
cat "$DEBIAN/lab/$kernel/initramfs" ${PERF:+"$DEBIAN/lab/perf/initramfs"} ${MORE:+"$MORE"} > "$DEBIAN$work/initramfs"

cpu=max
line="panic=-1 loglevel=3 job=$job $*"
case $(field "$HERE/kernels.csv" "$kernel" architecture) in
    amd64)
        machine=(qemu-system-x86_64 -machine q35)
        line="console=ttyS0 $line"
        ;;
    arm64)
        machine=(qemu-system-aarch64 -machine "virt,gic-version=3")
        cpu+=,midr=$(field "$HERE/kernels.csv" "$kernel" midr)
        line="console=ttyAMA0 $line"
        ;;
esac
if [ -n "${DETERMINISTIC:-}" ]; then
    cpu+=,-rdrand,-rdseed
    machine+=(-icount "shift=2,sleep=off" -rtc "base=2026-01-01,clock=vm" -seed 7)
    line="nokaslr norandmaps random.trust_cpu=off $line"
fi

inside nice timeout -k 5 "${TIMEOUT:-600}" "${machine[@]}" -cpu "$cpu" -accel tcg,thread=single -smp "$cpus" -m "$memory" \
    -kernel "/lab/$kernel/vmlinuz" -initrd "$work/initramfs" -append "$line" \
    -display none -vga none -nic none -no-reboot -monitor none \
    -serial "file:$work/console" -serial "file:$work/out" 2> "$DEBIAN$work/errors" \
    || fail "the guest did not end by itself: $(tail -n 1 "$DEBIAN$work/errors")" \
        "the end of its console: $(tail -n 1 "$DEBIAN$work/console" | tr -d '\r')"

mkdir -p "$folder"
tr -d '\r' < "$DEBIAN$work/console" > "$folder/console"
tar -xz -C "$folder" --no-same-owner --warning=no-timestamp -f "$DEBIAN$work/out" \
    || fail "the output of the guest cannot be read" "look at $folder/console"
! grep -q LAB-FAILED "$folder/console" || fail "$(grep LAB-FAILED "$folder/console")" "look at $folder/console"
