#!/usr/bin/env bash
# oracle.sh FOLDER [FIRST_SEED]: makes random permission changes on every kernel of kernels.csv, one guest for each mix
# of mixes.csv, and records what the kernel did in FOLDER/KERNEL-SEED.jsonl. Seeds count up from FIRST_SEED (default: the
# time, so every call makes other changes). Existing files are kept.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

[ $# -ge 1 ] || fail "oracle.sh: no folder" "oracle.sh FOLDER [FIRST_SEED]"
folder=$1 first=${2:-$(date +%s)}
mkdir -p "$folder"

for kernel in $(kernels); do
    seed=$first
    while IFS=, read -r mix architecture memory cases; do
        [ "$architecture" = "$(field "$HERE/kernels.csv" "$kernel" architecture)" ] || continue
        to=$folder/${kernel//[.-]/}-$seed.jsonl
        if [ ! -e "$to" ]; then
            "$HERE/guest.sh" "$kernel" "$memory" 1 "$folder/guest.$$" changes "seed=$seed" "mix=$mix" "cases=$cases" \
                init_on_alloc=0 < /dev/null # most memory is only allocated, never read
            mv "$folder/guest.$$/changes.jsonl" "$to"
            rm -r "$folder/guest.$$"
            say "$kernel, mix $mix, seed $seed: $(grep -c '"t":"op"' "$to") changes"
        fi
        seed=$((seed + 1))
    done < <(tail -n +2 "$HERE/mixes.csv")
done
