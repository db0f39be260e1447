#!/bin/bash
# What a stranger finds: a bare Debian 12 with git, make and python3 is given this
# checkout and runs `make build` and `make install`, then `make serve` twice; an initiator outside
# reads back what it wrote. Then it does so with the package that `make deb` has made there, an older
# one of which is upgraded while it serves, and which leaves nothing behind when it is purged.
#
# Needs root, mmdebstrap, iproute2, libiscsi-bin, qemu-utils and qemu-block-extra. MIRROR
# is handed to mmdebstrap. pip's PIP_* variables reach the inside, where the file that
# PIP_CERT names is put as well.
set -eu
cd "$(dirname "$0")/.."

url=iscsi://127.0.0.1:3260/iqn.2026-11.io.github.scsi2nvme:disk0/0

inside() {
  local variables=(PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root) name
  for name in "${!PIP_@}"; do
    case $name in
      PIP_CERT) cp "$PIP_CERT" "$root/pip.crt"; variables+=(PIP_CERT=/pip.crt) ;;
      PIP_FIND_LINKS) ;; # names a directory that is not inside
      *) variables+=("$name=${!name}") ;;
    esac
  done
  chroot "$root" env -i "${variables[@]}" "$@"
}

# Run a command while the disk is served: `served COMMAND`, by what `serve` is, with its state in
# the directory `state`.
served() {
  : >"$root/serve.log" # else the last one's Ready may be read
  inside "${serve[@]}" >>"$root/serve.log" 2>&1 &
  local make=$!
  tail --pid="$make" --lines=+1 --follow "$root/serve.log" | sed '/^Ready/q'
  grep --quiet '^Ready' "$root/serve.log"
  "$@"
  kill -TERM "$(cat "$root/$state/lock")"
  wait "$make"
}

write_and_compare() {
  iscsi-ls --show-luns iscsi://127.0.0.1:3260
  iscsi-inq "$url"
  qemu-img convert -n -f raw -O raw "$root/image" "$url"
  qemu-img compare -f raw -F raw "$root/image" "$url"
}

# What is served goes on while the program is replaced, and verbs of the new one ask the old one.
upgrade_and_compare() {
  write_and_compare
  inside dpkg --install /root/built.deb
  qemu-img compare -f raw -F raw "$root/image" "$url"
  inside scsi2nvme list | grep --quiet ' live$'
}

serve=(make -C /src serve) state=src/var

case "${1:-}" in
  "")
    root=$(mktemp -d)
    export root
    trap 'rm -rf --one-file-system "$root"' EXIT
    # shellcheck disable=SC2086
    mmdebstrap --quiet --variant=apt --include=git,make,python3 bookworm "$root" ${MIRROR:-}
    mkdir "$root/src"
    git ls-files -z --cached --others --exclude-standard \
      | tar --create --null --files-from - | tar --extract --directory "$root/src"
    # Namespaces of our own: what is mounted or left running ends with us, ports are free.
    unshare --mount --pid --fork --kill-child "$0" build
    unshare --mount --pid --net --fork --kill-child "$0" serve
    unshare --mount --pid --net --fork --kill-child "$0" package
    echo "A bare Debian 12 builds, serves, and keeps its disk; so does its package."
    ;;
  build)
    mount -t proc proc "$root/proc"
    inside make -C /src build deb install
    # What install has put there goes again, so that what a package leaves behind is seen.
    inside /usr/local/sbin/scsi2nvme --version
    inside test -s /usr/local/share/man/man8/scsi2nvme.8
    inside bash -euc '. /usr/local/share/bash-completion/completions/scsi2nvme; complete -p scsi2nvme'
    grep --quiet '^#compdef scsi2nvme' "$root/usr/local/share/zsh/site-functions/_scsi2nvme"
    inside make -C /src uninstall
    ;;
  serve)
    mount -t proc proc "$root/proc"
    ip link set lo up
    head --bytes=64M /dev/urandom >"$root/image"
    truncate --size=1G "$root/image"
    served write_and_compare
    served qemu-img compare -f raw -F raw "$root/image" "$url"
    ;;
  package)
    mount -t proc proc "$root/proc"
    ip link set lo up
    mv "$root"/src/build/deb/*.deb "$root/root/built.deb"
    rm -r "$root/src"
    inside dpkg-deb --raw-extract /root/built.deb /root/old
    sed --in-place 's/^Version: .*/Version: 0.0.1-1/' "$root/root/old/DEBIAN/control"
    inside dpkg-deb --build /root/old /root/old.deb
    rm -r "$root/root/old"
    inside dpkg --install /root/old.deb
    echo '# mine' >"$root/etc/scsi2nvme.toml"
    serve=(scsi2nvme serve --controller emulated:/root/disk.img,size=1G
      --iqn iqn.2026-11.io.github.scsi2nvme:disk0)
    state=var/lib/scsi2nvme
    served upgrade_and_compare
    served qemu-img compare -f raw -F raw "$root/image" "$url"
    grep --quiet ^ExecStart=/usr/lib/scsi2nvme/bin/scsi2nvme \
      "$root/usr/lib/systemd/system/scsi2nvme.service"
    inside scsi2nvme install-units | grep --quiet 'has brought all of it'
    # An image may lie where the daemon under its unit may write: it is data, and stays.
    touch "$root/$state/disk.img"
    inside dpkg --remove scsi2nvme
    inside dpkg --purge scsi2nvme
    [ "$(ls "$root/$state")" = disk.img ]
    [ "$(cat "$root/etc/scsi2nvme.toml")" = '# mine' ]
    rm -r "${root:?}/$state" "$root/etc/scsi2nvme.toml"
    left=$(find "$root" -xdev -path "$root/proc" -prune -o -name '*scsi2nvme*' -print)
    [ -z "$left" ] || { echo "left behind: $left"; exit 1; }
    ;;
esac
