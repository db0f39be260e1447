"""A scsi2nvme daemon of the tests' own, on a port and in a state directory of its own."""

from __future__ import annotations

import errno
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

from tests import fork_server

# `scsi2nvme`, in a fresh interpreter. Sanitizers have an installation, which is like a user's.
PROGRAM = (
    (sys.executable, "-m", "scsi2nvme")
    if fork_server.SANITIZED
    else (sys.executable, "-S", str(Path(__file__).parent / "start.py"))
)
MEMORY = "emulated:memory,size=64M"
IQN = "iqn.2026-11.io.github.scsi2nvme:test"
READY_S = 60
LOGGED_S = 30
Process = subprocess.Popen[bytes] | fork_server.Forked


# Below what the kernel gives to connections (ip_local_port_range), else one may take a port
# before the daemon does. Each worker has its own.
_FIRST_PORT, _PORTS = 16000, 2000
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
_offsets = itertools.count(os.getpid())


def scsi2nvme(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end, forked."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        program = fork_server.fork(arguments, out.fileno(), err.fileno())
        try:
            status = program.wait(60)
        finally:
            program.kill()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(arguments, status, out.read(), err.read())


def free_port() -> int:
    """Return a TCP port that nobody listens on, at any address."""
    while True:
        port = _FIRST_PORT + _WORKER * _PORTS + next(_offsets) % _PORTS
        with socket.socket(socket.AF_INET6) as six, socket.socket() as four:
            six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                six.bind(("::", port))
                four.bind(("0.0.0.0", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            return port


def targets(*specs: str) -> str:
    """Return a configuration of targets that are called IQN, IQN:1, IQN:2, …"""
    return "".join(
        f"[[controllers]]\nspec = {json.dumps(spec)}\niqn = {json.dumps(target(number))}\n"
        for number, spec in enumerate(specs)
    )


def target(number: int) -> str:
    """Return how `targets` calls one."""
    return f"{IQN}:{number}" if number else IQN


class Daemon:
    """`scsi2nvme serve` as a child process; a context manager.

    Started when entered, ended with SIGTERM when left; `log` is what it wrote. It is a fork of a
    process that has imported everything: `FreshDaemon` is begun as users begin it.
    """

    def __init__(
        self,
        state_dir: Path,
        *controllers: str,
        config: str = "",
        port: int | None = None,
        arguments: tuple[str, ...] = (),
        portal_given: bool = True,
    ) -> None:
        self.state_dir = state_dir
        self.port = port if port is not None else free_port()
        self.given = portal_given  # else the configuration says where: it may change
        self.controllers = controllers
        self.arguments = list(arguments)
        if config:
            path = state_dir / "config.toml"
            path.write_text(config)
            path.chmod(0o600)
            self.arguments += ["--config", str(path)]
        self.log = state_dir / "daemon.log"
        self.process: Process | None = None
        self.greeting = ""  # what it has said when it was ready

    @property
    def pid(self) -> int:
        """The daemon's process."""
        assert self.process is not None
        return self.process.pid

    def url(self, lun: int = 0, *, iqn: str = IQN, credentials: str = "") -> str:
        """Return the libiscsi URL of a logical unit."""
        return f"iscsi://{credentials}127.0.0.1:{self.port}/{iqn}/{lun}"

    def words(self) -> list[str]:
        """Return what the program is told."""
        controllers = [word for spec in self.controllers for word in ("--controller", spec)]
        return [
            "serve",
            *controllers,
            *(("--portal", f"127.0.0.1:{self.port}") if self.given else ()),
            *("--iqn", IQN),
            *("--state-dir", str(self.state_dir)),
            *self.arguments,
        ]

    def begin(self, stdout: int, stderr: int, environment: dict[str, str]) -> Process:
        """Begin its process."""
        return fork_server.fork(self.words(), stdout, stderr, environment)

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        reader, writer = os.pipe()
        environment = dict(os.environ, NOTIFY_SOCKET="")
        with self.log.open("ab") as log:
            self.process = self.begin(writer, log.fileno(), environment)
        os.close(writer)
        deadline = time.monotonic() + READY_S
        output = b""
        try:
            while b"iscsi://" not in output:
                ready, _, _ = select.select([reader], [], [], deadline - time.monotonic())
                chunk = os.read(reader, 65536) if ready else b""
                if not chunk:
                    self.process.kill()
                    self.process.wait()
                    raise AssertionError(f"not ready: {output!r} {self.log.read_text()}")
                output += chunk
        finally:
            self._stdout = reader
            self.greeting = output.decode()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal it and wait for its end; returns its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(60)
        os.close(self._stdout)
        self.process = None
        return status

    def logs(self, words: str) -> bool:
        """Wait until it has logged these words; whether it did in good time."""
        deadline = time.monotonic() + LOGGED_S
        while words not in self.log.read_text():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process is not None:
            status = self.stop()
            if error is None:
                assert status == 0, f"exit status {status}: {self.log.read_text()}"


class FreshDaemon(Daemon):
    """One in a fresh interpreter: where its start, its end or its process is what counts."""

    def command(self) -> list[str]:
        """Return the command line."""
        return [*PROGRAM, *self.words()]

    def begin(self, stdout: int, stderr: int, environment: dict[str, str]) -> Process:
        """Begin its process."""
        return subprocess.Popen(self.command(), stdout=stdout, stderr=stderr, env=environment)
