# shellcheck shell=bash
# Shared by the lab's scripts: paths, error messages, and how to run a command in the unpacked Debian.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LAB=$(realpath -m "${LAB:-$HERE/../../.lab}")
DEBIAN=$LAB/debian # a Debian of its own: compilers, emulator, perf; files for the guests are made below its /lab

say() { printf 'lab: %s\n' "$*" >&2; }

fail() { # what, remedy
    printf 'lab: %s\nlab: %s\n' "$1" "$2" >&2
    exit 2
}

need() { # tools that this machine must have
    local tool
    for tool; do
        command -v "$tool" > /dev/null || fail "$tool is not on this machine" \
            "the lab needs a Debian or a derivative of it with apt-get, dpkg-deb and unshare (util-linux)"
    done
}

inside() { # run a command in the unpacked Debian; outside $LAB it can write only to /dev
    local user=()
    [ "$(id -u)" = 0 ] || user=(--map-root-user)
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare "${user[@]}" --mount -- sh -c \
        'mount --rbind /proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"' "$DEBIAN" "$@"
}

field() { # CSV, key, column: one field of a table whose first column is the key
    awk -F, -v key="$2" -v column="$3" \
        'NR == 1 { for (i = 1; i <= NF; i++) if ($i == column) wanted = i } NR > 1 && $1 "" == key "" { print $wanted }' "$1"
}

kernels() { awk -F, 'NR > 1 { print $1 }' "$HERE/kernels.csv"; }
