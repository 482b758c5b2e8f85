#!/usr/bin/env bash
# lists.sh KERNEL FOLDER [NAME=VALUE...]: the recorder reads the free lists of a kernel between two dumps that the kernel
# makes of them under its locks (module/lists.c); compare_lists.py FOLDER tells what agrees.
#
# NAME=VALUE: rounds=2 busy=busy frag=240 pipes=4000 (memory made uneven before). Python and numpy are Debian's, of the
# kernel's architecture. From the environment: MEMORY (MiB), CPUS.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

[ $# -ge 2 ] || fail "lists.sh: too few arguments" "lists.sh KERNEL FOLDER [NAME=VALUE...]"
kernel=$1 folder=$2
shift 2
architecture=$(field "$HERE/kernels.csv" "$kernel" architecture)
[ -n "$architecture" ] || fail "no kernel '$kernel'" "data/lab/kernels.csv has: $(kernels | paste -sd ' ')"
to=$DEBIAN/lab/python-$architecture

if [ ! -e "$to/root" ]; then
    say "fetching Python and numpy for $architecture"
    mkdir -p "$to"/{packages/partial,part/usr}
    for merged in lib lib64; do ln -sf "usr/$merged" "$to/part/$merged"; done
    APT_CONFIG=$LAB/apt/apt.conf apt-get -qq -y --download-only -o "Dir::Cache::archives=$to/packages" \
        install "python3-numpy:$architecture" > "$LAB/apt/log"
    for package in "$to"/packages/*.deb; do
        dpkg-deb --fsys-tarfile "$package" \
            | tar -x -C "$to/part" --no-same-owner --keep-directory-symlink --exclude=./usr/share --exclude='*/tests'
    done
    rm -rf "$to/packages" "$to/part/"{bin,sbin,etc,var,usr/sbin}
    mv "$to/part" "$to/root"
fi
rm -rf "$to/root/python"
mkdir "$to/root/python"
(cd "$HERE/../.." && cp -r --parents ingest/{__init__.py,source.py,snapshots,recorder} ptpool/*.py "$to/root/python")
cp "$HERE/guest/python/lists.py" "$to/root/python"
# shellcheck disable=SC2016 # expanded by the inner shell
inside sh -c 'cd "$0" && find . | busybox cpio -o -H newc -R 0:0 2> /dev/null > ../initramfs' "/lab/python-$architecture/root"

MORE=$to/initramfs "$HERE/guest.sh" "$kernel" "${MEMORY:-1024}" "${CPUS:-2}" "$folder" lists "$@"
