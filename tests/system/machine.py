"""A machine under QEMU's software emulation that runs jobs.

`python -m tests.system.machine SCRIPT` boots one, runs a script in it and ends with the
script's status, or with TIMED_OUT, PANICKED or STOPPED; `--shell` gives a root shell.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.system import clock
from tests.system.controllers import CONTROLLERS, GIB, MIB, SPARE, Nvme
from tests.system.disk import BuildError
from tests.system.image import KERNEL, Images, images
from tests.system.monitor import Monitor
from tests.times import BEHIND_MACHINES

# What a healthy kernel does not say.
COMPLAINT = re.compile(r"\b(BUG|WARNING|Oops|Call Trace|blocked for more than|soft lockup)\b")
# The initiator's own of Linux 6.1, once in a boot: it waits for a runtime suspend of the target
# that it takes away, in a queue in which it should not. Nothing of a target's makes it do that.
KNOWN = re.compile(
    r"-+\[ cut here \]-+\n[^\n]*WQ_MEM_RECLAIM iscsi_ctrl_[^\n]* is flushing "
    r"!WQ_MEM_RECLAIM pm:pm_runtime_work.*?-+\[ end trace [^\n]*",
    re.DOTALL,
)
BOOT_S = 240
OFF_S = 30
HUNG_S = 120
SYSTEMD_OFF_S = 120
TIMED_OUT, PANICKED, STOPPED = 124, 125, 126

# norandmaps: QEMU keeps translated code by its address. A process at addresses of its own, as each
# would have, would have all of its code translated anew.
COMMAND_LINE = (
    "console=ttyS0 loglevel=5 panic=-1 oops=panic intel_iommu=on iommu=pt mitigations=off nokaslr"
    " norandmaps random.trust_cpu=on tsc=reliable no_timer_check audit=0 nvme_core.multipath=N"
)
SYSTEMD = "/lib/systemd/systemd"
# QEMU finds translated code by tables of many megabytes, at random: large pages spare the processor
# a walk through its own tables for most of it. Spec: glibc manual, Memory Allocation Tunables
LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


class MachineError(Exception):
    """The machine did not do what was asked of it; `status` is for a program's end."""

    status = 1


class JobFailed(MachineError):
    """A job ended with a status that is not 0."""


class GuestTimeout(MachineError):
    """A job, or the boot, took too long. The machine is off."""

    status = TIMED_OUT


class GuestPanic(MachineError):
    """The kernel panicked."""

    status = PANICKED


class GuestStopped(MachineError):
    """The machine or QEMU ended unasked."""

    status = STOPPED


@dataclass(frozen=True)
class Result:
    """How a job ended."""

    status: int
    output: str
    seconds: float


@dataclass
class Job:
    """A script that runs in the machine."""

    machine: Machine
    number: int
    directory: Path
    started: float

    @property
    def output(self) -> str:
        """What it has written so far, standard error included."""
        path = self.directory / "output"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait(self, timeout_s: float = 60, *, check: bool = True) -> Result:
        """Wait for its end.

        Raises JobFailed for a status that is not 0 if `check`, GuestTimeout, and what ends
        the machine.
        """
        status = self.machine.await_end(self.number, timeout_s, self)
        result = Result(status, self.output, time.monotonic() - self.started)
        if check and status:
            raise JobFailed(f"exit status {status}\n{result.output}")
        return result

    def kill(self) -> None:
        """Kill its process group; `wait` then returns a status of 128 + 9."""
        self.machine.ask(f"kill {self.number}")


class Machine:
    """A machine that is on while the context lasts. For one thread.

    `console` is the kernel's log; `monitor` is QEMU's. Files in `share` are at /share in the
    machine. With `shell` the terminal becomes the machine's, see `interact`. The disks lie in a
    temporary directory in `directory`. `systemd` is its first process if asked for;
    `nvme_root`: its root file system lies on a controller of its own, there is no other.
    """

    def __init__(
        self,
        controllers: tuple[Nvme, ...] = CONTROLLERS,
        *,
        files: Images | None = None,
        memory_bytes: int = 4 * GIB,
        shell: bool = False,
        directory: Path | None = None,
        systemd: bool = False,
        iommu: bool = True,
        nvme_root: bool = False,
    ) -> None:
        self.controllers = () if nvme_root else controllers
        self._files = files or images()
        self._memory_bytes = memory_bytes
        self._shell = shell
        self._where = directory
        self._iommu = iommu
        self._off_s = SYSTEMD_OFF_S if systemd else OFF_S
        self._root = "nvme" if nvme_root else "virtio-blk-pci"
        self._command_line = " ".join(
            [
                COMMAND_LINE if iommu else COMMAND_LINE.replace(" intel_iommu=on", ""),
                f"root={'/dev/nvme0n1' if nvme_root else '/dev/vdb'}",
                *([f"init={SYSTEMD}"] if systemd else []),
                *clock.parameters(),
            ]
        )
        self._count = 0
        self._ended: dict[str, int] = {}
        self._pending = b""

    # ---- on and off ----

    def __enter__(self) -> Machine:
        files = self._files
        self._directory = tempfile.TemporaryDirectory(prefix="machine-", dir=self._where)
        directory = Path(self._directory.name)
        self.share = directory / "share"
        (self.share / "jobs").mkdir(parents=True)
        self.console = directory / "console"
        self._jobs, jobs = socket.socketpair()
        monitor, qmp = socket.socketpair()
        self.monitor = Monitor(monitor)
        arguments = [
            # Nobody else ends QEMU should this process be killed.
            *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-machine", "q35", "-accel", "tcg,thread=multi,tb-size=512"),
            # Kernel and C library would move single bytes where a processor says that it is fast
            # at that; emulation takes as long for each as for a word. Where there are MTRRs, all
            # processors stop for each other in boot to set them, which not every boot has survived.
            # The others are no concern of ours: a fifth level of page tables is walked for each
            # address, and what keeps the kernel from memory of processes is a table of its own.
            *("-cpu", "max,-erms,-mtrr,-la57,-smap,-smep,-umip,-pku,-avx,-avx2"),
            *("-smp", "2", "-m", f"{self._memory_bytes // MIB}M"),
            *(("-device", "intel-iommu,intremap=on") if self._iommu else ()),
            *("-kernel", str(files.kernel), "-initrd", str(files.initramfs)),
            *("-append", self._command_line, "-serial", f"file:{self.console}"),
            *_snapshot("program", files.program),
            *_snapshot("root", files.root, self._root),
            *("-virtfs", f"local,path={self.share},mount_tag=share,security_model=none"),
            *("-device", "virtio-serial-pci"),
            *("-chardev", f"socket,id=jobs,fd={jobs.fileno()}"),
            *("-device", "virtserialport,chardev=jobs,name=jobs"),
            *("-chardev", f"socket,id=qmp,fd={qmp.fileno()}", "-mon", "chardev=qmp,mode=control"),
            *self._disks(directory),
        ]
        if self._shell:
            arguments += ["-chardev", "stdio,id=shell,signal=off"]
            arguments += ["-device", "virtconsole,chardev=shell"]
        inherited = (jobs.fileno(), qmp.fileno())
        self._errors = (directory / "errors").open("wb+")
        self._qemu = subprocess.Popen(
            arguments,
            pass_fds=inherited,
            stdin=None if self._shell else subprocess.DEVNULL,
            stderr=self._errors,
            env=os.environ | LARGE_PAGES,
            # The terminal's interrupts are for us, not for QEMU.
            start_new_session=not self._shell,
        )
        self._go_first()
        jobs.close()
        qmp.close()
        try:
            self._await("ready", BOOT_S, "the machine does not boot")
        except BaseException:
            self._end()
            raise
        return self

    def _go_first(self) -> None:
        """Have the machine go before what else runs, as its guest's time-outs are of our time.

        Where the kernel groups processes by sessions, how nice those in another are counts for
        nothing. Spec: sched(7), the autogroup feature.
        """
        if self._shell:
            return  # it is of our session
        with suppress(OSError):  # it may not, or there is no such thing
            Path(f"/proc/{self._qemu.pid}/autogroup").write_text(str(-BEHIND_MACHINES))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self.alive:
                self.ask("off")
                self._qemu.wait(self._off_s)
        except (OSError, subprocess.TimeoutExpired) as problem:
            if error is None:
                raise GuestTimeout(self._with_log("the machine does not power off")) from problem
        finally:
            self._end()

    @property
    def alive(self) -> bool:
        """Whether it is on."""
        return self._qemu.poll() is None

    def _end(self) -> None:
        self._qemu.kill()
        self._qemu.wait()
        self._jobs.close()
        self.monitor.close()
        self._errors.close()
        self._directory.cleanup()

    def _disks(self, directory: Path) -> Iterator[str]:
        ports = [each.name for each in self.controllers if not each.beside]
        for number, name in enumerate([*ports, SPARE.name]):
            port = f"pcie-root-port,id=port-{name},chassis={number},slot={number}"
            yield from ("-device", f"{port},addr={16 + number:#x}")
        for controller in self.controllers:
            for disk in controller.disks(directory):
                yield from ("-blockdev", json.dumps(disk))
            for device in controller.devices():
                yield from ("-device", json.dumps(device))

    # ---- jobs ----

    def start(self, script: str) -> Job:
        """Start a bash script with `-euo pipefail`; library.sh says what it has at hand."""
        self._count += 1
        directory = self.share / "jobs" / str(self._count)
        directory.mkdir()
        (directory / "script").write_text(script)
        self.ask(f"run {self._count}")
        return Job(self, self._count, directory, time.monotonic())

    def run(self, script: str, timeout_s: float = 60, *, check: bool = True) -> Result:
        """Run a script to its end; raises as `Job.wait`."""
        return self.start(script).wait(timeout_s, check=check)

    def interact(self) -> None:
        """Give the terminal to a root shell until that ends."""
        self.ask("shell")
        self._await("shell", None, "")

    def ask(self, line: str) -> None:
        """Send a line to the machine's first process; init.sh says which there are."""
        try:
            self._jobs.sendall(line.encode() + b"\n")
        except OSError as error:
            raise self._stopped() from error

    def await_end(self, number: int, timeout_s: float, job: Job) -> int:
        """Return a job's status when it has ended."""
        return self._await(str(number), timeout_s, f"a job runs on after {timeout_s} s", job)

    def _await(
        self, name: str, timeout_s: float | None, problem: str, job: Job | None = None
    ) -> int:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while name not in self._ended:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if not select.select([self._jobs], [], [], left)[0]:
                output = f"\n{self._hung(job) if job else self._where_processors_are()}"
                self._qemu.kill()
                self._qemu.wait()
                raise GuestTimeout(self._with_log(problem + output))
            self._receive()
        return self._ended.pop(name)

    def _receive(self) -> None:
        try:
            chunk = self._jobs.recv(4096)
        except ConnectionResetError:
            chunk = b""
        if not chunk:
            raise self._stopped()
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        for line in lines:
            name, status = line.decode().split()
            self._ended[name] = int(status)

    def _stopped(self) -> MachineError:
        """Return why the machine is off."""
        status = self._qemu.wait(OFF_S)
        if "Kernel panic" in self.log():
            return GuestPanic(self._with_log("the kernel panicked"))
        self._errors.seek(0)
        errors = self._errors.read().decode(errors="replace")
        return GuestStopped(self._with_log(f"QEMU ended, status {status}\n{errors}"))

    def _hung(self, job: Job) -> str:
        """Return what a job that does not end has written, and what the machine says of itself."""
        self.ask("hung")
        deadline = time.monotonic() + HUNG_S
        while "hung" not in self._ended and (left := deadline - time.monotonic()) > 0:
            if select.select([self._jobs], [], [], left)[0]:
                self._receive()
        path = self.share / "hung"
        return f"{job.output}\n{path.read_text(errors='replace') if path.exists() else ''}"

    def _where_processors_are(self) -> str:
        """Return each processor's instruction pointer and flags, twice: a kernel may hang."""
        lines = []
        for _ in range(2):
            said = self.monitor.human("info registers -a")
            lines += [line for line in said.splitlines() if line.startswith(("CPU#", "RIP="))]
        return "\n".join(lines)

    # ---- beginning anew ----

    def reboot(self) -> None:
        """Have systemd end everything and start the machine anew; disks keep what they hold."""
        self._restart(lambda: self.start("systemctl reboot"), guest=True)

    def reset(self) -> None:
        """Press the reset button."""
        self._restart(lambda: self.monitor.execute("system_reset"), guest=False)

    def _restart(self, begin: Callable[[], object], *, guest: bool) -> None:
        self.monitor.execute("set-action", reboot="reset")
        begin()
        self.monitor.wait("RESET", guest=guest)
        self._await("ready", BOOT_S, "the machine does not boot again")
        # Not before: firmware that begins anew resets once more.
        self.monitor.execute("set-action", reboot="shutdown")
        self.monitor.forget("RESET")

    # ---- the kernel's log ----

    def log(self) -> str:
        """Return what the kernel has logged."""
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """The kernel must have nothing to complain about while this lasts."""
        before = len(self.log())
        yield
        said = KNOWN.sub("", self.log()[before:])
        assert not COMPLAINT.search(said), said

    def _with_log(self, problem: str, lines: int = 60) -> str:
        tail = "\n".join(self.log().splitlines()[-lines:])
        return f"{problem}\n--- kernel log ---\n{tail}"

    # ---- hardware ----

    def allocated(self, controller: Nvme, nsid: int) -> int:
        """Return how many bytes of a namespace hold data, as its file on the host has it."""
        (node,) = (
            node
            for node in self.monitor.execute("query-named-block-nodes")
            if node["node-name"] == f"{controller.name}-{nsid}"
        )
        return int(node["image"]["actual-size"])

    def unplug(self, controller: Nvme) -> None:
        """Take a controller out. Returns when the guest has let go of it.

        MachineError if it does not: with what the guest is about, and who has disks open.
        """
        self.monitor.execute("device_del", id=controller.name)
        try:
            self.monitor.wait("DEVICE_DELETED", device=controller.name)
        except TimeoutError as error:
            busy = self.run("tell_hung", 300, check=False).output
            raise MachineError(f"{controller.name} is not let go of\n{busy}") from error

    def plug(self, controller: Nvme) -> None:
        """Put a controller that was taken out back, its disks as they were."""
        self.monitor.execute("device_add", **controller.controller())


def _snapshot(name: str, path: Path, driver: str = "virtio-blk-pci") -> Iterator[str]:
    """Yield the arguments for a disk whose changes are forgotten."""
    yield from ("-drive", f"id={name},file={path},format=raw,if=none,snapshot=on,cache=unsafe")
    yield from ("-device", f"{driver},drive={name},serial={name}")


def main() -> int:
    """Run a script, or a shell, in a machine."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.machine", description=__doc__)
    parser.add_argument("script", nargs="?", type=Path, help="what to run; standard input if none")
    parser.add_argument("--shell", action="store_true", help="give a root shell")
    parser.add_argument("--systemd", action="store_true", help="with systemd as first process")
    parser.add_argument("--timeout", type=float, default=600, metavar="SECONDS")
    parser.add_argument("--kernel", default=os.environ.get("KERNEL", KERNEL), metavar="PACKAGE")
    arguments = parser.parse_args()
    try:
        with Machine(
            files=images(arguments.kernel), shell=arguments.shell, systemd=arguments.systemd
        ) as machine:
            if arguments.shell:
                machine.interact()
                return 0
            script = arguments.script.read_text() if arguments.script else sys.stdin.read()
            result = machine.run(script, arguments.timeout, check=False)
            print(result.output, end="")
            return result.status
    except (MachineError, BuildError) as error:
        print(error, file=sys.stderr)
        return error.status if isinstance(error, MachineError) else 1


if __name__ == "__main__":
    sys.exit(main())
