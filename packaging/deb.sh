#!/bin/bash
# Make a Debian package of a wheel: deb.sh PYTHON WHEEL EXTRAS DIRECTORY. The package is for Debian's
# Python of the same version as PYTHON. Prints where it is.
#
# The program lies in an environment of its own, /usr/lib/scsi2nvme, that Debian's Python runs: a
# link and pyvenv.cfg are all that makes one, so nothing in it names where it was built.
set -eu
python=$1 wheel=$(realpath "$2") extras=$3 directory=$(realpath "$4")
here=$(realpath "$(dirname "$0")")
root=$directory/root
home=/usr/lib/scsi2nvme
umask 022

minor=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
next=3.$((${minor#3.} + 1))
version=$(basename "$wheel" | cut --delimiter=- --fields=2)-1
maintainer="scsi2nvme maintainers <maintainers@scsi2nvme.github.io>"
architecture=$(dpkg --print-architecture)

rm -rf "$root"
site=$root$home/lib/python$minor/site-packages
mkdir -p "$site" "$root$home/bin" "$root/usr/sbin" "$root/DEBIAN"
"$python" -m pip install --quiet --no-compile --target "$site" "scsi2nvme[$extras] @ file://$wheel"
rm -rf "$site/bin"
run() { PYTHONPATH=$site "$python" -P "$@"; }
ln -s ../../../bin/python3 "$root$home/bin/python3"
printf 'home = /usr/bin\ninclude-system-site-packages = false\n' >"$root$home/pyvenv.cfg"
cat >"$root$home/bin/scsi2nvme" <<END
#!$home/bin/python3 -I
import sys

from scsi2nvme.__main__ import main

sys.exit(main())
END
chmod 755 "$root$home/bin/scsi2nvme"
ln -s "../lib/scsi2nvme/bin/scsi2nvme" "$root/usr/sbin/scsi2nvme"

# What install-units writes for an administrator lies elsewhere when a package brings it. Where D-Bus
# looks for whom to start, the name of the file is tcmu-runner's package's: ours lies in a directory of
# our own, which D-Bus looks through after the others.
run -m scsi2nvme install-units --root "$root" --program "$home/bin/scsi2nvme" >/dev/null
move() { mkdir -p "$root/$(dirname "$2")" && mv "$root/$1" "$root/$2"; }
for unit in scsi2nvme.service scsi2nvme-absent.service; do
  move "etc/systemd/system/$unit" "usr/lib/systemd/system/$unit"
done
activated=org.kernel.TCMUService1.service
move usr/local/share/dbus-1/system-services/$activated "$home/dbus-1/$activated"
move etc/dbus-1/system.d/scsi2nvme.conf usr/share/dbus-1/system.d/scsi2nvme.conf
sed --in-place "s|^<busconfig>|&\n  <servicedir>$home/dbus-1</servicedir>|" \
  "$root/usr/share/dbus-1/system.d/scsi2nvme.conf"
move etc/udev/rules.d/60-scsi2nvme.rules usr/lib/udev/rules.d/60-scsi2nvme.rules
move etc/tmpfiles.d/scsi2nvme.conf usr/lib/tmpfiles.d/scsi2nvme.conf
rm -r "$root/usr/local" "$root/etc"

run -m scsi2nvme.manual "$root/usr/share/man"
find "$root/usr/share/man" -type f -exec gzip --best --no-name {} +
completions=$root/usr/share/bash-completion/completions zsh=$root/usr/share/zsh/vendor-completions
doc=$root/usr/share/doc/scsi2nvme
mkdir -p "$completions" "$zsh" "$doc/examples"
run -m scsi2nvme completion bash >"$completions/scsi2nvme"
run -m scsi2nvme completion zsh >"$zsh/_scsi2nvme"
run -c 'from scsi2nvme.cli.verbs.serve import CONFIG_EXAMPLE; print(CONFIG_EXAMPLE)' \
  >"$doc/examples/scsi2nvme.toml"
cp "$here/../LICENSE" "$doc/copyright"
gzip --best --no-name --stdout "$here/../CHANGELOG.md" >"$doc/changelog.gz"
gzip --best --no-name >"$doc/changelog.Debian.gz" <<END
scsi2nvme ($version) unstable; urgency=medium

  * Made by make deb; what has changed is in changelog.gz.

 -- $maintainer  $(date --rfc-email --date="@${SOURCE_DATE_EPOCH:-$(date +%s)}")
END
# An environment of one's own is what begins with another interpreter.
mkdir -p "$root/usr/share/lintian/overrides"
echo 'scsi2nvme: wrong-path-for-interpreter' >"$root/usr/share/lintian/overrides/scsi2nvme"

find "$root" -name __pycache__ -prune -exec rm -r {} +
find "$root" -name '*.so' -exec strip --strip-unneeded {} +
cp "$here"/debian/{postinst,prerm,postrm} "$root/DEBIAN"
chmod 755 "$root"/DEBIAN/*
cat >"$root/DEBIAN/control" <<END
Package: scsi2nvme
Version: $version
Architecture: $architecture
Maintainer: $maintainer
Installed-Size: $(du --summarize --block-size=1K "$root" | cut -f1)
Depends: libc6, python3 (>= $minor), python3 (<< $next)
Recommends: dbus, kmod, targetcli-fb
Section: admin
Priority: optional
Description: SCSI target emulator in front of NVMe disks
 Publishes NVMe namespaces as SCSI logical units: by an iSCSI portal of its own,
 or by the kernel's target and targetcli. SCSI commands become NVMe commands.
END
dpkg-deb --root-owner-group --build "$root" "$directory/scsi2nvme_${version}_$architecture.deb" >/dev/null
echo "$directory/scsi2nvme_${version}_$architecture.deb"
