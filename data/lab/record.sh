#!/usr/bin/env bash
# record.sh WORKLOAD FOLDER [SEED]: records a workload of workloads.csv as a bundle in the layout of data/captures.
#
# DETERMINISTIC=1 counts time in instructions: the same lab and the same seed give the same bytes. Without it two
# recordings differ as two runs on a machine do. Either way the gaps between CPUs mean nothing: see README.md.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

[ $# -ge 2 ] || fail "record.sh: too few arguments" "record.sh WORKLOAD FOLDER [SEED]"
workload=$1 folder=$2 seed=${3:-1}
of() { field "$HERE/workloads.csv" "$workload" "$1"; }
[ -n "$(of kernel)" ] || fail "no workload '$workload'" \
    "data/lab/workloads.csv has: $(tail -n +2 "$HERE/workloads.csv" | cut -d, -f1 | paste -sd ' ')"
[ ! -e "$folder" ] || fail "$folder exists" "name a new folder"

recorder=$(of recorder) arguments=()
case $recorder in
    boot)
        arguments=("trace_event=$(sed 's/^/kmem:/' "$HERE/guest/events" | paste -sd ,)"
            "trace_buf_size=$(of buffer_kib)k" trace_options=stacktrace)
        ;;
    perf) export PERF=1 ;;
esac
run=$DEBIAN/lab/record.$$
trap 'rm -rf "$run"' EXIT
"$HERE/guest.sh" "$(of kernel)" "$(of memory_mib)" "$(of cpus)" "$run" record "workload=$(of script)" \
    "recorder=$recorder" "buffer_kib=$(of buffer_kib)" "seed=$seed" "${arguments[@]}"

rm "$run/console"
for moment in before after; do
    [ ! -d "$run/$moment" ] || mv "$run/$moment/kpageflags" "$run/$moment/kpageflags.u64le"
done
[ ! -e "$run/trace.txt.gz" ] || gzip -d "$run/trace.txt.gz"
(cd "$run" && find . -name 'kpageflags*' -o -name trace.txt -o -name perf.data -o -name kallsyms) | while read -r file; do
    inside zstd -12 --rm -q "/lab/record.$$/$file"
done
cat > "$run/README.txt" << TEXT
$workload: $(of about)
kernel $(< "$DEBIAN/lab/$(of kernel)/release"), $(of memory_mib) MiB, $(of cpus) CPUs, busybox in the initramfs; seed $seed${DETERMINISTIC:+, deterministic}
recorder $recorder, buffer $(of buffer_kib) KiB for each CPU; workload: data/lab/guest/workloads/$(of script)
emulator: $(inside qemu-system-x86_64 --version | head -n 1), software emulation, all CPUs on one thread of the host:
the order of events is real, the gaps between CPUs are not
before/ and after/: /proc, read right before tracing was switched on and right after it was switched off (recording.txt)
kpageflags.u64le: entry i is page frame i
TEXT
echo "emulator: QEMU TCG" > "$run/virtualization"
chmod -R u=rwX,go=rX "$run"
mkdir -p "$(dirname "$folder")"
mv "$run" "$folder"
say "$workload: $folder ($(du -sh "$folder" | cut -f1)); next: ptpool ingest trace $folder"
