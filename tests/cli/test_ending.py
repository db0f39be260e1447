"""How the daemon, and a verb that opens a disk itself, end when they are asked to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from scsi2nvme.drivers.emulated.transport import EmulatedOptions, EmulatedTransport
from tests.daemon import IQN, PROGRAM, READY_S, FreshDaemon, Process, free_port, target, targets
from tests.iscsi_client import Initiator
from tests.support import row
from tests.waiting import until

MEMORY = "emulated:memory,size=16M"
# A hanging admin command would keep it busy for minutes.
NEVER_UP = f"{MEMORY},fault=identify:hang"
MEANINGLESS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGIO, signal.SIGRTMIN + 3)


def program(*arguments: str) -> subprocess.Popen[str]:
    """Start the program; it says when it has taken over its signals by what it does."""
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def signalled(process: Process) -> bool:
    """Send SIGTERM; whether there is nobody any more to send it to."""
    if process.poll() is not None:
        return True
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)  # sent without a pause they would be all that it does
    return False


def has_open(process: subprocess.Popen[str], path: Path) -> bool:
    """Whether a process has a file open."""
    try:
        links = [os.readlink(each) for each in Path(f"/proc/{process.pid}/fd").iterdir()]
    except FileNotFoundError:
        return False  # a descriptor has gone meanwhile
    return str(path) in links


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end in good time; return the exit status and what was written."""
    try:
        out, err = process.communicate(timeout=50)
    finally:
        process.kill()
    return process.returncode, out + err


def test_signals_that_mean_nothing_do_not_end_it_and_others_do_in_order(tmp_path: Path) -> None:
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGPWR):
        with FreshDaemon(tmp_path, MEMORY) as running:
            assert running.process is not None
            for meaningless in MEANINGLESS:
                running.process.send_signal(meaningless)
            with Initiator(("127.0.0.1", running.port)) as one:
                one.login(IQN)
            assert running.stop(number) == 0
            assert running.log.read_text() == ""
            assert not (tmp_path / "control.sock").exists()


def test_garbage_is_collected_once_it_serves_and_what_serves_is_none(tmp_path: Path) -> None:
    told = """
import gc, os, signal, sys
from scsi2nvme.__main__ import main
from scsi2nvme.cli.daemon import serve

def notify(state, wait_s=0):
    if state == "READY=1":
        print(gc.isenabled(), gc.get_freeze_count() > 10_000, file=sys.stderr)
        os.kill(os.getpid(), signal.SIGTERM)

serve.notify = notify
sys.exit(main(sys.argv[1:]))
"""
    words = FreshDaemon(tmp_path, MEMORY).command()
    command = [sys.executable, "-c", told, *words[words.index("serve") :]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=READY_S)
    assert (done.returncode, done.stderr) == (0, "True True\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=str)
def test_it_ends_while_a_controller_is_brought_up(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    process = program(
        *("serve", "--controller", NEVER_UP, "--portal", f"127.0.0.1:{port}"),
        *("--state-dir", str(tmp_path)),
    )
    lock = tmp_path / "lock"
    until(  # it holds its state directory: what follows is the controller
        lambda: process.poll() is not None or (lock.exists() and lock.read_text().strip()),
        "it holds its state directory",
    )
    process.send_signal(number)
    assert ended(process) == (0, "")


# What hangs in each disk, and the command that becomes it.
HANGING = {
    "dataset-management:hang": (
        row("UNMAP").build(parameter_list_length=24),
        bytes([0, 22, 0, 16, *bytes(15), 8, *bytes(4)]),
    ),
    "get-log-page:hang:after=1:count=1": (
        row("LOG SENSE").build(pc=1, page_code=0x0D, allocation_length=255),
        b"",
    ),
    "format-nvm:hang": (row("FORMAT UNIT").build(), b""),
    "write:hang": (row("WRITE (10)").build(transfer_length=1), bytes(512)),
}


@pytest.mark.slow
def test_it_ends_while_commands_hang(tmp_path: Path) -> None:
    disks = [f"{MEMORY},fault={what}" for what in HANGING]
    with ExitStack() as stack:
        running = FreshDaemon(tmp_path, config=targets(*disks), arguments=("--reactors", "1"))
        stack.enter_context(running)
        for number, (cdb, data) in enumerate(HANGING.values()):
            one = stack.enter_context(Initiator(("127.0.0.1", running.port)))
            one.login(target(number))
            one.command(0, bytes(6))
            read = 0 if data or cdb[0] != 0x4D else 255
            itt = one.next_itt()
            length = len(data) or read
            one.send(
                one.command_bhs(0, cdb, itt=itt, edtl=length, read=read > 0, write=bool(data)),
                data,
            )
            for _ in range(4):  # what waits for nothing is answered after what came has begun
                one.command(0, row("INQUIRY").build(allocation_length=36), data_in=36)
        assert running.stop() == 0
    assert "Traceback" not in running.log.read_text()


def test_a_signal_that_comes_twice_is_one(tmp_path: Path) -> None:
    """As timeout(1) sends it: to the process, then to its group."""
    with FreshDaemon(tmp_path, MEMORY) as running:
        assert running.process is not None
        running.process.send_signal(signal.SIGTERM)
        assert running.stop() == 0
        assert running.log.read_text() == ""


def test_an_interrupt_that_was_ignored_at_the_start_is(tmp_path: Path) -> None:
    """So it is with what a script starts in the background."""
    running = FreshDaemon(tmp_path, MEMORY)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        running.start()
    finally:
        signal.signal(signal.SIGINT, before)
    assert running.process is not None
    running.process.send_signal(signal.SIGINT)
    with Initiator(("127.0.0.1", running.port)) as one:
        one.login(IQN)
    assert running.stop() == 0


def test_a_second_signal_ends_it_there_and_then(tmp_path: Path) -> None:
    with FreshDaemon(tmp_path, f"{MEMORY},fault=flush:hang") as running:
        assert running.process is not None
        running.process.send_signal(signal.SIGTERM)
        until(partial(signalled, running.process), "it ends")
        assert running.stop() == 128 + signal.SIGTERM
        assert "ended by a second SIGTERM" in running.log.read_text()


def test_a_terminal_that_is_gone_is_not_missed(tmp_path: Path) -> None:
    with FreshDaemon(tmp_path, MEMORY) as running:
        os.close(running._stdout)
        running._stdout = os.open(os.devnull, os.O_RDONLY)
        assert running.stop(signal.SIGHUP) == 0
        assert running.log.read_text() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=str)
def test_a_verb_lets_go_of_its_disk(tmp_path: Path, number: signal.Signals) -> None:
    image = tmp_path / "disk.img"
    EmulatedTransport(EmulatedOptions(path=image, size_bytes=16 << 20)).close()
    process = program("id-ctrl", f"emulated:{image},fault=identify:hang")
    until(lambda: process.poll() is not None or has_open(process, image), "it opens its disk")
    process.send_signal(number)
    status, words = ended(process)
    assert (status, words) == (130, "")
