#!/usr/bin/env bash
# make lab: unpacks everything that record.sh and oracle.sh need below $LAB; installs nothing on this machine.
# setup.sh pools (make lab-pools): the tools only, and the source of the kernel that pools/build.sh patches and builds.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

private_apt() { # an apt of our own: its lists, its cache, and no installed packages
    local keyring mirror security suite
    mirror=${DEBIAN_MIRROR:-$(apt_mirror Debian)}
    security=${DEBIAN_SECURITY_MIRROR:-$(apt_mirror Debian-Security)}
    if [ -z "$mirror" ] || [ -z "$security" ]; then
        fail "the apt of this machine has no Debian mirror" \
            "name two: DEBIAN_MIRROR=... DEBIAN_SECURITY_MIRROR=... make lab"
    fi
    keyring=$(compgen -G '/usr/share/keyrings/debian-archive-keyring.[gp][pg][gp]' | head -n 1) \
        || fail "Debian's keys are not on this machine" "install debian-archive-keyring"
    mkdir -p "$LAB"/apt/{lists,archives}/partial "$LAB/apt/none"
    : > "$LAB/apt/status"
    {
        for suite in trixie trixie-updates trixie-backports bookworm bookworm-updates bookworm-backports; do
            echo "deb [signed-by=$keyring] $mirror $suite main"
        done
        echo "deb [signed-by=$keyring] $security bookworm-security main"
        echo "deb [signed-by=$keyring] $security trixie-security main"
    } > "$LAB/apt/sources.list"
    cat > "$LAB/apt/apt.conf" << CONF
Dir::State "$LAB/apt";
Dir::State::status "$LAB/apt/status";
Dir::Cache "$LAB/apt";
Dir::Etc::parts "$LAB/apt/none";
Dir::Etc::sourcelist "$LAB/apt/sources.list";
Dir::Etc::sourceparts "$LAB/apt/none";
Dir::Etc::preferences "$LAB/apt/none";
Dir::Etc::preferencesparts "$LAB/apt/none";
APT::Architecture "amd64";
APT::Architectures { "amd64"; "arm64"; };
APT::Default-Release "trixie";
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Languages "none";
CONF
    export APT_CONFIG=$LAB/apt/apt.conf
    say "reading Debian's package lists"
    apt-get -qq update
}

apt_mirror() { # label: the mirror that this machine's apt uses for it
    # shellcheck disable=SC2016 # the fields are apt's
    apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' "Label: $1" \
        | awk 'NR == 1 { print $2 }'
}

unpack() { # a .deb into the lab's Debian
    dpkg-deb --fsys-tarfile "$1" | tar -x -C "$DEBIAN" --no-same-owner --keep-directory-symlink
}

tools() { # compilers, emulator, perf: the packages of packages.txt and what they depend on
    if [ ! -e "$DEBIAN/lab/tools" ] || ! cmp -s "$DEBIAN/lab/tools" "$HERE/packages.txt"; then
        say "fetching and unpacking compilers, emulator and perf"
        rm -rf "$DEBIAN" "$LAB"/apt/archives/*.deb
        mkdir -p "$DEBIAN"/{proc,dev,tmp,lab,usr/{bin,sbin,lib,lib64}}
        for merged in bin sbin lib lib64; do ln -s "usr/$merged" "$DEBIAN/$merged"; done
        xargs -a "$HERE/packages.txt" apt-get -qq -y --download-only install > "$LAB/apt/log"
        for package in "$LAB"/apt/archives/*.deb; do unpack "$package"; done
        ln -sf bash "$DEBIAN/usr/bin/sh"
        ln -sf gawk "$DEBIAN/usr/bin/awk"
        cp "$HERE/packages.txt" "$DEBIAN/lab/tools"
    fi
}

download() { # package...: into $LAB/packages, unless they are there
    local package
    mkdir -p "$LAB/packages"
    for package; do
        compgen -G "$LAB/packages/${package%%[:=]*}_*" > /dev/null \
            || (cd "$LAB/packages" && apt-get -qq download "$package")
    done
}

known() { apt-cache show "$1" > /dev/null 2>&1; }

release_of() { # kernel: the pinned release, or the newest of its kind if Debian has dropped that
    local kernel=$1 pinned newest
    pinned=$(field "$HERE/kernels.csv" "$kernel" release)
    if known "linux-headers-$pinned:$(field "$HERE/kernels.csv" "$kernel" architecture)"; then
        echo "$pinned"
        return
    fi
    newest=$(apt-cache pkgnames linux-headers- | sed 's/^linux-headers-//;s/:.*//' \
        | grep -Ex "$(field "$HERE/kernels.csv" "$kernel" newest)" | sort -Vu | tail -1)
    [ -n "$newest" ] || fail "Debian has no kernel like $pinned any more" "edit data/lab/kernels.csv"
    say "$kernel: Debian has dropped $pinned; taking $newest (pin it in data/lab/kernels.csv)"
    echo "$newest"
}

kernel() { # kernel: its image, and the headers to build modules against
    local kernel=$1 to=$DEBIAN/lab/$1 architecture release headers image more
    architecture=$(field "$HERE/kernels.csv" "$kernel" architecture)
    release=$(release_of "$kernel")
    if [ -e "$to/release" ] && [ "$(< "$to/release")" = "$release" ]; then return; fi
    say "$kernel: fetching $release"
    rm -rf "$to"
    mkdir -p "$to"
    image=linux-binary-$release:$architecture # since 7.2; the images before are all in one
    known "$image" || image=linux-image-$release:$architecture
    headers=linux-headers-$release:$architecture
    mapfile -t more < <(apt-cache depends "$headers" \
        | sed -nE 's/^ *Depends: (linux-kbuild-[^:]*|linux-headers-.*-common)(:.*)?$/\1/p' | sort -u)
    download "$image" "$headers" "${more[@]}"
    for package in "$headers" "${more[@]}"; do unpack "$LAB"/packages/"${package%:*}"_*.deb; done
    dpkg-deb --fsys-tarfile "$LAB"/packages/"${image%:*}"_*.deb \
        | tar -xO --wildcards --no-anchored 'vmlinuz*' > "$to/vmlinuz"
    echo "$release" > "$to/release"
}

programs() { # kernel: the module and the guest's programs
    local kernel=$1 to=$DEBIAN/lab/$1 release cross='' make=()
    release=$(< "$to/release")
    if [ "$(field "$HERE/kernels.csv" "$kernel" architecture)" = arm64 ]; then
        cross=aarch64-linux-gnu-
        make=(ARCH=arm64 "CROSS_COMPILE=$cross")
    fi
    say "$kernel: building the module and the guest's programs"
    rm -rf "${to:?}/module" "${to:?}/bin"
    cp -r "$HERE/module" "$to/module"
    mkdir "$to/bin"
    cp "$HERE"/guest/*.[ch] "$to/bin"
    inside make -s -C "/usr/src/linux-headers-$release" M="/lab/$kernel/module" CC="${cross}gcc-14" \
        "${make[@]}" CONFIG_DEBUG_INFO_BTF_MODULES= modules > "$to/build.log" 2>&1 \
        || fail "the module does not build for $release: $(tail -3 "$to/build.log")" "see $to/build.log"
    for source in "$to"/bin/*.c; do
        inside "${cross}gcc-14" -O1 -Wall -Werror -static -o "/lab/$kernel/bin/$(basename "$source" .c)" \
            "/lab/$kernel/bin/$(basename "$source")"
    done
    rm "$to"/bin/*.[ch]
}

initramfs() { # kernel: busybox, the programs, the module, jobs and workloads; the same files give the same bytes
    local kernel=$1 to=$DEBIAN/lab/$1 root=$DEBIAN/lab/$1/root
    rm -rf "$root"
    mkdir -p "$root/bin"
    if [ "$(field "$HERE/kernels.csv" "$kernel" architecture)" = arm64 ]; then
        download busybox-static:arm64
        dpkg-deb --fsys-tarfile "$LAB"/packages/busybox-static_*_arm64.deb \
            | tar -xO --wildcards --no-anchored '*bin/busybox' > "$root/bin/busybox"
    else
        cp "$DEBIAN/usr/bin/busybox" "$root/bin"
    fi
    cp "$to"/bin/* "$root/bin"
    cp "$to"/module/*.ko "$root"
    cp -r "$HERE"/guest/{init,events,jobs,workloads} "$root"
    archive "/lab/$kernel/root" "/lab/$kernel/initramfs"
}

perf_initramfs() { # perf with the libraries it needs, as a second archive after the first
    local root=$DEBIAN/lab/perf/root
    say "packing perf for the guests"
    rm -rf "$root"
    mkdir -p "$root"/{lib64,usr/lib}
    cp "$DEBIAN"/usr/bin/perf "$root"
    inside ldd /usr/bin/perf | sed -nE 's/.*=> (\/[^ ]*).*/\1/p' | while read -r library; do
        cp -L "$DEBIAN$library" "$root/usr/lib"
    done
    cp -L "$DEBIAN"/lib64/ld-linux-x86-64.so.2 "$root/lib64"
    archive /lab/perf/root /lab/perf/initramfs
}

archive() { # folder, file (both inside)
    chmod -R u=rwX,go=rX "$DEBIAN$1"
    chmod 755 "$DEBIAN$1"/bin/* "$DEBIAN$1"/init 2> /dev/null || true
    find "$DEBIAN$1" -exec touch -h -d @0 {} + # the times in the archive
    # shellcheck disable=SC2016 # expanded by the inner shell
    inside sh -c 'cd "$0" && find . | LC_ALL=C sort | busybox cpio -o -H newc -R 0:0 --renumber-inodes 2> /dev/null > "$1"' "$1" "$2"
}

kernel_source() { # the source package pools/kernel names, unpacked; the newest if Debian has dropped the pinned one
    local package version pinned
    read -r package version < "$HERE/pools/kernel"
    if [ ! -e "$DEBIAN/lab/pools/$package" ]; then
        pinned=$package=$version
        apt-cache madison "$package" | grep -qF " $version " || {
            say "Debian has dropped $package $version; taking the newest (pin it in data/lab/pools/kernel)"
            pinned=$package
        }
        say "fetching and unpacking $pinned"
        download "$pinned"
        mkdir -p "$DEBIAN/lab/pools/new"
        dpkg-deb --fsys-tarfile "$LAB/packages/$package"_*.deb | tar -xO "./usr/src/$package.tar.xz" \
            | inside xz -dc | tar -x -C "$DEBIAN/lab/pools/new"
        mv "$DEBIAN/lab/pools/new/$package" "$DEBIAN/lab/pools/$package"
    fi
}

need apt-get apt-cache dpkg-deb tar unshare
say "the lab is $LAB"
private_apt
tools
if [ "${1:-}" = pools ]; then
    kernel_source
    exec "$HERE/pools/build.sh"
fi
for kernel in $(kernels); do
    kernel "$kernel"
    programs "$kernel"
    initramfs "$kernel"
done
perf_initramfs
say "ready: $(du -sh "$LAB" | cut -f1) in $LAB; next: make oracle, or data/lab/record.sh"
