#!/usr/bin/env bash
# pools/try.sh STRATEGY WORKLOAD FRAGMENTATION BOOTS [FIRST_SEED]: tries to make a split lack a keyed table. Boots so many
# guests, each with another seed, because a leaf splits only once; nothing is recorded. A CSV row for each on standard output.
#
# From the environment: SET as in record.sh; MODULE (default: the adversary of module/adversary.c, meet=4+apart=512).
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

[ $# -ge 4 ] || fail "try.sh: too few arguments" "try.sh STRATEGY WORKLOAD FRAGMENTATION BOOTS [FIRST_SEED]"
strategy=$1 first=${5:-1}
work() { field "$HERE/pools/workloads.csv" "$workload" "$1"; }
wear() { field "$HERE/pools/fragmentations.csv" "$fragmentation" "$1"; }
workload=$2 fragmentation=$3
if [ -z "$(work arguments)" ] || [ -z "$(wear about)" ]; then
    fail "no workload '$workload' or no fragmentation '$fragmentation'" "see data/lab/pools/*.csv"
fi
module=$(wear module) adversary=${MODULE-meet=4+apart=512}
quantities=(refills refills_overlapping changes_overlapping own_tables outside_tables shrunk_pages cached_min starved_own
    starved_outside)
echo "strategy,set,workload,fragmentation,module,seed,guest_seconds,$(IFS=,; echo "${quantities[*]}")"
for ((seed = first; seed < first + $4; seed++)); do
    folder=$LAB/try.$$
    "$HERE/pools/guest.sh" "$folder" "$(work memory_mib)" "$(work cpus)" "$(work threads)" "strategy=$strategy" "set=${SET:-}" \
        "module=${module:+$module+}$adversary" "wear=$(wear wear)" "seed=$seed" "work=$(work arguments)" 2> "$LAB/try.log"
    echo "$strategy,${SET:-},$workload,$fragmentation,${module:+$module+}$adversary,$seed,$(cut -d' ' -f1 "$folder/uptime"),$(
        for quantity in "${quantities[@]}"; do sed -n "s/^$quantity //p" "$folder/after/pool_stats"; done | paste -sd ,
    )"
    ! grep -q "lacks a keyed table" "$folder/console.log" || grep "ptpools: " "$folder/console.log" >&2
    rm -r "$folder"
done
