"""A whole machine in which every target that is compared serves a disk of the same kind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import load
from bench.tables import Figures
from scsi2nvme.target.tcmu.device_config import AREA_MB
from tests.system.controllers import GIB, MIB, Namespace, Nvme
from tests.system.image import Images
from tests.system.machine import Machine

SIZE_BYTES = 256 * MIB
FABRICS = ("tcm_loop", "iSCSI")
NVME, LIO, RUNNER, CACHED = "NVMe", "LIO block", "tcmu-runner", "tcmu-runner, cached"
FLOOR, BOUNCED, ZERO_COPY = "empty ring", "bounced", "zero copy"
MODES = {ZERO_COPY: "auto", BOUNCED: "off"}  # of our daemon: one at a time

# The kernel's: a disk, and a file system for the image of tcmu-runner. Ours: through VFIO.
_KERNELS = Nvme("a", "0000:01:00.0", (Namespace(SIZE_BYTES), Namespace(GIB)))
_OURS = Nvme("b", "0000:02:00.0", (Namespace(SIZE_BYTES),))
DISKS_BYTES = sum(each.size_bytes for each in _KERNELS.namespaces + _OURS.namespaces)

_BACKSTORES = ("block", "runner", "empty", "ours")  # in the order of their LUNs on iSCSI
_NAA = {name: f"naa.500140500000000{number}" for number, name in enumerate(_BACKSTORES)}
_IQN = "iqn.2026-11.io.github.scsi2nvme:bench"
_SETUP_S = 400
_TICKS_PER_S = 100  # of the times in /proc/stat

# No block is allocated while anything is measured.
_PREPARE = f"""
modprobe -a nvme vfio-pci target_core_user tcm_loop
for disk in {_KERNELS.address} {_OURS.address}; do
    dd if=/dev/zero of=$(namespace $disk 1) bs=1M oflag=direct count={SIZE_BYTES // MIB}
done
image=$(namespace {_KERNELS.address} 2)
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 $image
mount $image /mnt
qemu-img create -f qcow2 -o preallocation=full /mnt/image {SIZE_BYTES}
sync
scsi2nvme bind {_OURS.address}
echo 'tcmu = {{ dbus = false }}' >/run/scsi2nvme.toml
"""
_SERVE = f"""
start_daemon --config /run/scsi2nvme.toml --controller pci:{_OURS.address} --zero-copy $mode
"""
_STOP = "end_daemon"
# Before every measurement, at nobody's expense: what tcmu-runner has left to be written is, and
# what it has read comes from the disk again, or else all of it from memory.
_AFRESH = "sync; echo 3 >/proc/sys/vm/drop_caches"
_FROM_MEMORY = "cat /mnt/image >/dev/null"
# The least that a handler costs serves a ring of its own; nobody answers the kernel for it.
_PROGRAM = "ring-floor"
_SERVE_FLOOR = f"""
uio=$(grep --files-with-matches '/floor/empty$' /sys/class/uio/uio*/name)
uio=${{uio%/name}}
cp /share/{_PROGRAM} /run
/run/{_PROGRAM} {SIZE_BYTES} "$(<"$uio/maps/map0/size")" <>"/dev/${{uio##*/}}" >&0 &
"""
_RINGS = "scsi2nvme list --json --state-dir /run/daemon"
# tcmu-runner comes when our device is there: it would refuse it, and the kernel believes the
# first that answers. What is not ours we leave to it.
_EXPORT = f"""
python3 - <<END
import rtslib_fb as lio
lio.UserBackedStorageObject(
    "ours", "nvme/0/1", {SIZE_BYTES}, control="max_data_area_mb={AREA_MB}"
)
lio.UserBackedStorageObject(
    "empty", "floor/empty", {SIZE_BYTES},
    control="max_data_area_mb={AREA_MB},nl_reply_supported=-1"
)
END
{_SERVE_FLOOR}
start_tcmu_runner
python3 - <<END
import rtslib_fb as lio
lio.BlockStorageObject("block", dev="$(namespace {_KERNELS.address} 1)")
lio.UserBackedStorageObject("runner", "qcow//mnt/image", {SIZE_BYTES})
stores = {{store.name: store for store in lio.RTSRoot().storage_objects}}
iscsi = lio.TPG(lio.Target(lio.FabricModule("iscsi"), "{_IQN}"), 1)
for number, (name, naa) in enumerate({_NAA}.items()):
    lio.LUN(lio.TPG(lio.Target(lio.FabricModule("loopback"), naa), 1), 0, stores[name])
    lio.LUN(iscsi, number, stores[name])
for name in ("generate_node_acls", "cache_dynamic_acls"):
    iscsi.set_attribute(name, 1)
for name in ("authentication", "demo_mode_write_protect"):
    iscsi.set_attribute(name, 0)
lio.NetworkPortal(iscsi, "127.0.0.1", 3260)
iscsi.enable = True
END
# As docs/operations.md has it.
for naa in {_NAA["ours"]} {_NAA["empty"]}; do
    echo -2 >/sys/kernel/config/target/loopback/$naa/param/cmd_completion_affinity
done
iscsi_login
"""
_DEVICES = f"""
namespace {_KERNELS.address} 1
lun=0
for naa in {" ".join(_NAA.values())}; do
    loop_disk $naa 0
    iscsi_disk {_IQN} $((lun++))
done
"""
_VERSIONS = """
uname -r
dpkg-query --show --showformat='${Version}\\n' fio tcmu-runner
"""


@dataclass(frozen=True, slots=True)
class Target:
    """A disk in the machine: its column, what it is reached over ("": nothing), its device."""

    name: str
    fabric: str
    device: str


@dataclass(frozen=True, slots=True)
class Work:
    """A workload of fio's."""

    operation: str  # read or write
    pattern: str  # random or sequential
    depth: int
    block_bytes: int

    @property
    def name(self) -> str:
        """A short label."""
        kind = "" if self.pattern == "random" else "seq "
        return f"{kind}{self.operation} {self.block_bytes >> 10}k QD{self.depth}"

    def script(self, device: str, seconds: int) -> str:
        """Return what prints the times of the CPUs before and after, and fio's report."""
        mode = f"{'rand' if self.pattern == 'random' else ''}{self.operation}"
        return f"""
        cd /tmp
        fio --name=bench --filename={device} --size={SIZE_BYTES} --direct=1 --ioengine=libaio \\
            --rw={mode} --bs={self.block_bytes} --iodepth={self.depth} --norandommap \\
            --time_based --runtime={seconds} --thread --gtod_reduce=1 \\
            --exec_prerun='head -n1 /proc/stat' --exec_postrun='head -n1 /proc/stat' \\
            --output-format=json --output=bench.json >/dev/null
        cat bench.prerun.txt bench.postrun.txt bench.json
        """


class Guest:
    """The machine with all targets in it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._mode = ""
        program = load.compiled("ring_floor.c", libraries=("-static",))
        shutil.copy(program, machine.share / _PROGRAM)
        machine.run(_PREPARE, _SETUP_S)
        self._serve(next(iter(MODES.values())))
        machine.run(_EXPORT, _SETUP_S)
        self._own, *served = machine.run(_DEVICES).output.split()
        places = [(name, fabric) for name in _BACKSTORES for fabric in FABRICS]
        self._served = dict(zip(places, served, strict=True))

    def _serve(self, mode: str) -> None:
        script = [f"mode={mode}", *([_STOP] if self._mode else []), _SERVE]
        self._machine.run("\n".join(script), _SETUP_S)
        self._mode = mode

    def serve(self, column: str) -> list[Target]:
        """Have our daemon serve as `column` says; returns what is to be measured meanwhile.

        The others are measured with that column which is compared with them.
        """
        if self._mode != MODES[column]:
            self._serve(MODES[column])
        if column != ZERO_COPY:
            return self._over_fabrics(column, "ours")
        return [
            Target(NVME, "", self._own),
            *self._over_fabrics(LIO, "block"),
            *self._over_fabrics(RUNNER, "runner"),
            *self._over_fabrics(CACHED, "runner"),
            *self._over_fabrics(FLOOR, "empty"),
            *self._over_fabrics(column, "ours"),
        ]

    def _over_fabrics(self, column: str, backstore: str) -> list[Target]:
        return [Target(column, fabric, self._served[backstore, fabric]) for fabric in FABRICS]

    def in_place(self) -> float:
        """Return the share of commands whose data our daemon has not copied since it started."""
        (ring,) = json.loads(self._machine.run(_RINGS).output)["Rings"]
        return float(ring["InPlace"] / max(ring["InPlace"] + ring["Copied"], 1))

    def describe(self) -> dict[str, str]:
        """Return the versions of what takes part."""
        names = ("kernel in the machine", "fio", "tcmu-runner")
        return dict(zip(names, self._machine.run(_VERSIONS).output.split(), strict=True))

    def measure(self, target: Target, work: Work, seconds: int) -> Figures:
        """Run a workload on a target; see `figures`."""
        before = [_AFRESH, *([_FROM_MEMORY] if target.name == CACHED else [])]
        script = "\n".join((*before, work.script(target.device, seconds)))
        return figures(self._machine.run(script, 60 + 3 * seconds).output, work.operation)


def figures(output: str, operation: str) -> Figures:
    """Parse what a workload's script printed: `iops`, and `cpu_us` of all CPUs per I/O."""
    before, after, report = output.split("\n", 2)
    # Before the report fio says where the times are.
    job = json.loads(report[report.index("{") :])["jobs"][0]
    if job["error"]:
        raise RuntimeError(f"fio: error {job['error']}")
    busy_s = (_busy_ticks(after) - _busy_ticks(before)) / _TICKS_PER_S
    return {
        "iops": job[operation]["iops"],
        "cpu_us": busy_s * 1e6 / job[operation]["total_ios"],
    }


def _busy_ticks(line: str) -> int:
    """Return what a line of /proc/stat counts, neither idle nor waiting. Spec: proc(5)."""
    times = [int(word) for word in line.split()[1:]]
    user, nice, system, _, _, interrupt, soft = times[:7]
    return user + nice + system + interrupt + soft


@contextmanager
def guest(files: Images, directory: Path) -> Iterator[Guest]:
    """Boot the machine, its disks in `directory` for the time being."""
    with Machine((_KERNELS, _OURS), files=files, directory=directory) as machine:
        yield Guest(machine)
