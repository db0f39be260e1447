"""The machine's root filesystem, kernel and initial file system, from Debian packages."""

from __future__ import annotations

import lzma
import os
import re
import shutil
from pathlib import Path

from tests.system.disk import BuildError, digest, make_disk, run

HERE = Path(__file__).parent

RELEASE = "bookworm"
PACKAGES = (
    *("busybox-static", "dbus", "iproute2", "kmod", "mount", "procps", "python3"),
    *("systemd", "systemd-sysv", "udev"),
    *("targetcli-fb", "tcmu-runner", "open-iscsi", "libiscsi-bin", "multipath-tools"),
    *("lsscsi", "nvme-cli", "sg3-utils", "smartmontools", "pciutils"),
    *("ddpt", "dosfstools", "e2fsprogs", "fdisk", "fio", "lvm2", "qemu-utils", "xfsprogs"),
    *("python3-pexpect", "python3-pycurl"),  # of what fence-agents needs, what its fence_scsi does
)
# Laid out without what it says it needs: agents for machines in clouds, a quarter of a gigabyte.
FENCING = (
    'cd "$1/tmp" && export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"'
    " && apt-get --quiet=2 --option APT::Sandbox::User=root download fence-agents"
    ' && dpkg-deb --extract fence-agents_*.deb "$1" && rm fence-agents_*.deb'
)
# What the machine has no use for, as dpkg's path patterns.
LEFT_OUT = (
    *(f"/usr/share/{name}/*" for name in ("doc", "info", "locale", "man")),
    *(f"/lib/modules/*/kernel/{name}/*" for name in ("sound", "drivers/gpu", "drivers/media")),
    *(f"/lib/modules/*/kernel/drivers/{name}/*" for name in ("iio", "infiniband", "net", "usb")),
)
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# What must be loaded before the root filesystem can be read.
FIRST_MODULES = ("virtio_pci", "virtio_blk", "nvme", "crc32c_generic", "ext4")


def key(kernel: str, week: str) -> str:
    """Return what `build` depends on."""
    recipe = [Path(__file__).read_bytes(), (HERE / "initramfs.sh").read_bytes()]
    return digest(*recipe, kernel.encode(), week.encode())


def build(directory: Path, kernel: str) -> None:
    """Leave `disk`, `vmlinuz` and `initramfs` in a directory. Raises BuildError."""
    tree = directory / "tree"
    _install_debian(directory, tree, kernel)
    (version,) = (path.name for path in (tree / "lib/modules").iterdir())
    shutil.copy(tree / f"boot/vmlinuz-{version}", directory / "vmlinuz")
    (directory / "initramfs").write_bytes(initramfs(tree, version))
    (tree / "opt/scsi2nvme").mkdir()
    make_disk(directory / "disk", tree, "4G")
    shutil.rmtree(tree)


def _install_debian(directory: Path, tree: Path, kernel: str) -> None:
    if os.geteuid():
        raise BuildError("the machine's root filesystem is built by root: run this as root once")
    # Where and how the host gets its packages is where and how the machine gets them.
    sources = run(
        *("apt-get", "indextargets", "Created-By: Packages", "Component: main"),
        *("--format", f"deb [signed-by={KEYRING}] $(REPO_URI) $(RELEASE) $(COMPONENT)"),
    )
    release = re.compile(rf" {RELEASE}(-updates|-security|-backports)? ")
    lines = [line for line in sources.splitlines() if release.search(line)]
    apt = directory / "apt.conf"
    how = re.compile(r"Acquire::(https?::|Check-|Retries)")
    dump = run("apt-config", "dump", "Acquire").splitlines()
    apt.write_text("".join(f"{line}\n" for line in dump if how.match(line)))
    run(
        *("mmdebstrap", "--quiet", "--variant=apt", f"--aptopt={apt}"),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
        f"--include={','.join((kernel, *PACKAGES))}",
        f"--customize-hook={FENCING}",
        RELEASE,
        tree,
        *(["-"] if lines else []),
        input="\n".join(lines),
        env={**os.environ, "INITRD": "No", "DEBIAN_FRONTEND": "noninteractive"},
    )


def initramfs(tree: Path, version: str) -> bytes:
    """Return the initial file system of a kernel, as a cpio archive."""
    modules = tree / "lib/modules" / version
    files: dict[str, bytes | None] = {
        **dict.fromkeys(("bin", "dev", "modules", "proc", "root")),
        "bin/busybox": (tree / "bin/busybox").read_bytes(),
        "init": (HERE / "initramfs.sh").read_bytes(),
    }
    for number, path in enumerate(_in_order(modules)):
        content = (modules / path).read_bytes()
        name, _, packed = path.name.partition(".ko")
        content = lzma.decompress(content) if packed == ".xz" else content
        files[f"modules/{number:02}-{name}.ko"] = content
    return cpio(files)


def _in_order(modules: Path) -> list[Path]:
    """Return the files of FIRST_MODULES and of what they need, each after its needs."""
    needs = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[Path(path)] = [Path(word) for word in rest.split()]
    by_name = {path.name.partition(".ko")[0].replace("-", "_"): path for path in needs}
    built_in = (modules / "modules.builtin").read_text()
    ordered: dict[Path, None] = {}
    for name in FIRST_MODULES:
        if name in by_name:
            # modules.dep lists all needs, the deepest last.
            ordered.update(dict.fromkeys([*reversed(needs[by_name[name]]), by_name[name]]))
        elif f"/{name}.ko" not in built_in:
            raise BuildError(f"the kernel has no module {name}")
    return list(ordered)


def cpio(files: dict[str, bytes | None]) -> bytes:
    """Return files, and directories where the content is None, as a cpio archive ("newc").

    Spec: Linux Documentation/driver-api/early-userspace/buffer-format.rst
    """
    archive = bytearray()
    for inode, (name, content) in enumerate([*files.items(), ("TRAILER!!!", b"")], start=1):
        mode, links = (0o40755, 2) if content is None else (0o100755, 1)
        data = content or b""
        fields = (inode, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        archive += b"070701" + b"".join(b"%08x" % field for field in fields)
        for part in (name.encode() + b"\0", data):
            archive += part
            archive += bytes(-len(archive) % 4)
    return bytes(archive)
