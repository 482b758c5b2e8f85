#!/usr/bin/env bash
# pools/record.sh STRATEGY WORKLOAD FRAGMENTATION FOLDER [SEED]: records a run of a strategy in a real kernel as a bundle.
#
# From the environment: CPUS, MEM (MiB) instead of the workload's; SET (parameters of the strategy, NAME=VALUE+...; e.g.
# SET=mutex=1); MODULE (more for the module); PYTHON. The bundle's demand is everybody's, whoever supplied it.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

[ $# -ge 4 ] || fail "record.sh: too few arguments" "record.sh STRATEGY WORKLOAD FRAGMENTATION FOLDER [SEED]"
strategy=$1 workload=$2 fragmentation=$3 folder=$4 seed=${5:-1}
work() { field "$HERE/pools/workloads.csv" "$workload" "$1"; }
wear() { field "$HERE/pools/fragmentations.csv" "$fragmentation" "$1"; }
named() { tail -n +2 "$HERE/pools/$1.csv" | cut -d, -f1 | paste -sd ' '; }
[ -n "$(work arguments)" ] || fail "no workload '$workload'" "data/lab/pools/workloads.csv has: $(named workloads)"
[ -n "$(wear about)" ] || fail "no fragmentation '$fragmentation'" \
    "data/lab/pools/fragmentations.csv has: $(named fragmentations)"
[ ! -e "$folder" ] || fail "$folder exists" "name a new folder"

cpus=${CPUS:-$(work cpus)} memory=${MEM:-$(work memory_mib)} module=$(wear module)
[ -z "${MODULE:-}" ] || module=${module:+$module+}$MODULE
more=()
[ "$strategy" != pte-mapped ] || more=(direct_map_4k)
raw=$LAB/pools.$$
trap 'rm -rf "$raw"' EXIT
"$HERE/pools/guest.sh" "$raw" "$memory" "$cpus" "$(work threads)" "${more[@]}" "strategy=$strategy" "set=${SET:-}" \
    "module=$module" "wear=$(wear wear)" "seed=$seed" "work=$(work arguments)" "buffer_kib=$(work buffer_kib)"
"${PYTHON:-python3}" "$HERE/pools/bundle.py" "$raw" "workload=$workload" "fragmentation=$fragmentation" "seed=$seed" \
    "cpus=$cpus" "memory_mib=$memory" "threads=$(work threads)" "work=$(work arguments)" "wear=$(wear wear)" "module=$module"
mv "$raw" "$DEBIAN/lab/pools/bundle.$$"
(cd "$DEBIAN/lab/pools/bundle.$$" && find . -name 'kpageflags*' -o -name trace.txt -o -name free_lists) | while read -r file; do
    inside zstd -15 --rm -q "/lab/pools/bundle.$$/$file"
done
chmod -R u=rwX,go=rX "$DEBIAN/lab/pools/bundle.$$"
mkdir -p "$(dirname "$folder")"
mv "$DEBIAN/lab/pools/bundle.$$" "$folder"
say "$strategy: $folder ($(du -sh "$folder" | cut -f1)); next: ptpool ingest trace $folder"
