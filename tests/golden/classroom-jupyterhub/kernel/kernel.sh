# What the steps of a kernel's build share; sourced by their scripts, which mkosi runs as root in the toolchain tree.
# shellcheck shell=sh
set -eu
umask 022
export LC_ALL=C.UTF-8 TZ=UTC HOME=/tmp

release=6.12.118-lichen
linux=$BUILDROOT/linux
# Results of the steps before this one.
parts=$SRCDIR/mkosi.output

export ARCH=x86

# Whatever would tell one build from another: who built it where and when, and for which time.
export KBUILD_BUILD_USER=lichen KBUILD_BUILD_HOST=lichen KBUILD_BUILD_VERSION=1
export KCONFIG_NOTIMESTAMP=1 LOCALVERSION=-lichen

# Compiled objects of earlier builds: a kernel that differs in one symbol takes most of them. They are not there on a
# machine that has built none, and change no byte.
if [ -d "$SRCDIR/ccache" ]; then
    export CCACHE_DIR="$SRCDIR/ccache" CCACHE_COMPILERCHECK=content CCACHE_MAXSIZE=5G CCACHE_UMASK=022
else
    export CCACHE_DISABLE=1
fi

unpack_source() {
    mkdir "$linux"
    dpkg-deb --fsys-tarfile "$SRCDIR/source.deb" > "$BUILDROOT/source.tar"
    tar --extract --to-stdout --file "$BUILDROOT/source.tar" --wildcards './usr/src/*.tar.xz' |
        tar --extract --xz --directory "$linux" --strip-components=1
    # The date of the source package is the kernel's: with the same source a newer lock makes the same kernel.
    date=$(tar --extract --to-stdout --file "$BUILDROOT/source.tar" --wildcards './usr/share/doc/*/changelog.Debian.gz' |
        gzip --decompress --stdout | sed -n 's/^ -- .*>  //p;T;q')
    # An empty date would be today's.
    [ -n "$date" ] || { echo "the source package's changelog tells no date" >&2; exit 1; }
    SOURCE_DATE_EPOCH=$(date --date "$date" +%s)
    KBUILD_BUILD_TIMESTAMP=$(date --date "$date")
    export SOURCE_DATE_EPOCH KBUILD_BUILD_TIMESTAMP
    tar --extract --to-stdout --file "$BUILDROOT/source.tar" --wildcards './usr/share/doc/*/copyright' \
        > "$BUILDROOT/source.copyright"
    rm "$BUILDROOT/source.tar"
    cd "$linux"
}

# The kernel's own build, with paths in debug information and messages that name no machine.
kbuild() {
    make --jobs="$(nproc)" CC="ccache ${CROSS_COMPILE:-}gcc" HOSTCC="ccache gcc" \
        KCFLAGS="-ffile-prefix-map=$linux=/usr/src/linux" KAFLAGS="-ffile-prefix-map=$linux=/usr/src/linux" "$@"
}
