#!/usr/bin/env bash
# build.sh (after setup.sh pools, see make lab-pools): the kernel with the hooks, the module, the guest's files, all below
# $LAB; again: only what changed.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

POOLS=$HERE/pools
cd "$DEBIAN/lab/pools" || fail "there is no kernel source in $LAB" "run make lab-pools (with the same LAB=)"
read -r package _ < "$POOLS/kernel"

build() { # target...: with the lab's compiler
    inside env KBUILD_BUILD_USER=lab KBUILD_BUILD_HOST=lab nice make -C "/lab/pools/$package" O=/lab/pools/build CC=gcc-14 HOSTCC=gcc-14 -j"$(nproc)" "$@"
}

if [ ! -e "$package/include/linux/ptp_hooks.h" ]; then
    patch -s -d "$package" -p1 < "$POOLS/hooks.patch" \
        || fail "hooks.patch does not fit this kernel" "remove $PWD/$package and pin another in data/lab/pools/kernel"
fi
mkdir -p build
if [ ! -e build/.config ] || [ "$POOLS/config" -nt build/.config ]; then
    say "configuring $(make -s -C "$package" kernelversion)"
    cp "$POOLS/config" build/wanted
    build -s allnoconfig > build.log 2>&1
    inside "/lab/pools/$package/scripts/kconfig/merge_config.sh" -m -O /lab/pools/build /lab/pools/build/.config \
        /lab/pools/build/wanted >> build.log
    build -s olddefconfig >> build.log 2>&1
fi
say "building the kernel (ten minutes of two CPUs, once)"
build vmlinux modules > build.log 2>&1 || fail "the kernel does not build: $(grep -m 1 -F "***" build.log)" "see $PWD/build.log"

say "building the module and the guest's programs"
cp -ru "$POOLS/module" .
build -s M=/lab/pools/module modules > module.log 2>&1 || fail "the module does not build" "see $PWD/module.log"
rm -rf root
mkdir -p root/bin
for program in "$POOLS"/guest/*.c; do
    cp "$program" .
    inside gcc-14 -O1 -Wall -Werror -static -o "/lab/pools/root/bin/$(basename "$program" .c)" \
        "/lab/pools/$(basename "$program")"
done
cp "$DEBIAN/usr/bin/busybox" root/bin
cp module/ptpools.ko "$POOLS/guest/init" root
find root -exec touch -h -d @0 {} + # the times in the archive
# shellcheck disable=SC2016 # expanded by the inner shell
inside sh -c 'cd /lab/pools/root && find . | LC_ALL=C sort | busybox cpio -o -H newc -R 0:0 --renumber-inodes 2> /dev/null > ../initramfs'
say "ready: $(make -s -C "$package" kernelversion) with the hooks; next: make record-pools STRATEGY=pba WORKLOAD=mixed"
