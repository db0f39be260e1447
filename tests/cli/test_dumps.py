"""Dumps: what is kept of a controller that failed, and of a daemon that was killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tarfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.cli import dumps
from scsi2nvme.cli.daemon import dumping
from scsi2nvme.cli.daemon.dumping import Dumping
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.spec import parse
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.drivers.nvme.timing import Timing
from scsi2nvme.native.nvme import TRACE_BYTES, TRACE_ENTRIES
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.log_structures import PERSISTENT_EVENT_HEADER
from scsi2nvme.nvme.registers import CC, CSTS, Register, decode, encode
from scsi2nvme.nvme.status import StatusCode
from tests.daemon import IQN, Daemon
from tests.iscsi_client import Initiator
from tests.support import row

MEMORY = "emulated:memory,size=1M"
BLOCK = 4096
AER = AdminOpcode.ASYNC_EVENT_REQUEST
WRITE = NvmeCommand(Opcode.WRITE, 1, data_out=bytes(BLOCK))


def commands_of(folder: Path, qid: int) -> list[tuple[int, int]]:
    """Return opcode and dword 10 of a queue's last commands."""
    trace = dumps.as_json(dumps.read_trace((folder / dumps.QUEUES).read_bytes()))
    (queue,) = (each for each in trace["queues"] if each["qid"] == qid)
    return [(each["opc"], each["cdw10"]) for each in queue["commands"]]


def controlled(
    directory: Path,
    work: Callable[[Controller, Dumping], Awaitable[None]],
    *,
    most: int = 8,
    timing: Timing | None = None,
    faults: str = "",
) -> None:
    """Run `work` with a controller that is followed."""

    async def whole() -> None:
        spec = parse(f"{MEMORY},block={BLOCK}{faults}")
        transport = spec.scheme.open(spec.path, spec.given())
        controller = await Controller.open(transport, io_queues=1, timing=timing)
        follower = Dumping(directory, most)
        follower.follow(controller, 0)
        try:
            await work(controller, follower)
        finally:
            await controller.close()
            await follower.close()

    asyncio.run(whole())


# ---- the trace ----


def test_the_last_commands_stand_in_the_trace(tmp_path: Path) -> None:
    async def work(controller: Controller, follower: Dumping) -> None:
        for lba in range(TRACE_ENTRIES + 10):
            await controller.execute(NvmeCommand(Opcode.READ, 1, cdw10=lba, data_in=BLOCK))
        path = dumps.traces(tmp_path) / "0.trace"
        assert path.stat().st_mode & 0o077 == 0
        trace = dumps.read_trace(path.read_bytes())
        assert [queue.qid for queue in trace.queues] == [0, 1, 2]
        _, queue, given_away = trace.queues
        numbers = [each.number for each in queue.commands]
        assert numbers == list(range(10, TRACE_ENTRIES + 10))
        assert [int.from_bytes(each.raw[40:44], "little") for each in queue.commands] == numbers
        assert len(queue.completions) == TRACE_ENTRIES
        cids = [each.raw[2:4] for each in queue.commands]
        assert [each.raw[12:14] for each in queue.completions] == cids
        now_ms = time.time() * 1000
        assert all(abs(now_ms - (each.at_ms or 0)) < 60_000 for each in queue.commands)
        assert given_away.commands == ()

    controlled(tmp_path, work)
    assert not dumps.traces(tmp_path).exists()  # it has ended in order


def test_nothing_is_recorded_where_nobody_wants_dumps(tmp_path: Path) -> None:
    async def work(controller: Controller, follower: Dumping) -> None:
        await controller.execute(WRITE)
        await controller.reset("a command is overdue")

    controlled(tmp_path, work, most=0)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_controller_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "posix_fallocate", full)

    async def work(controller: Controller, follower: Dumping) -> None:
        assert not (await controller.execute(WRITE))[0].status

    controlled(tmp_path, work)
    assert "commands are not recorded: No space left on device" in caplog.text


def test_a_dump_that_does_not_fit_costs_no_other_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = dumps.DumpStore(tmp_path, 1)
    store.add({}, reason="the first")
    write = dumps.write

    def full(path: Path, content: bytes) -> None:
        write(path, content[:1])
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(dumps, "write", full)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            store.add({"log-02.bin": bytes(512)}, reason="another")
    assert [each.description["reason"] for each in store.all()] == ["the first"]


def test_a_log_of_odd_length_is_read_by_whole_dwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = PERSISTENT_EVENT_HEADER.size
    head = PERSISTENT_EVENT_HEADER.build(total_log_len=size + BLOCK + 1)

    async def work(controller: Controller, follower: Dumping) -> None:
        def start(commands: Any, completed: Any) -> Any:
            command = commands[0]
            command.sqe()
            completed((Completion(data=(head + bytes(BLOCK))[: command.data_in]),))
            return lambda: None

        monkeypatch.setattr(controller, "start", start)
        witness: Any = controller._recovery._witness
        assert len(await witness._persistent_events()) == size + BLOCK + 4
        monkeypatch.undo()

    controlled(tmp_path, work)


@pytest.mark.parametrize(
    ("status", "hangs", "actions"),
    [
        (0, 0, [1, 0, 2]),  # while it is read
        (0, 1, [1, 2]),  # before it is known whether it is established
        (StatusCode.COMMAND_SEQUENCE_ERROR, 0, [1]),  # it is another's
    ],
)
def test_events_are_released_when_there_is_no_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, hangs: int, actions: list[int]
) -> None:
    size, asked = PERSISTENT_EVENT_HEADER.size, list[int]()
    head = PERSISTENT_EVENT_HEADER.build(total_log_len=size + BLOCK)

    async def work(controller: Controller, follower: Dumping) -> None:
        def start(commands: Any, completed: Any) -> Any:
            asked.append(commands[0].cdw10 >> 8 & 3)
            if asked[-1] != hangs:
                completed((Completion(status, data=head[: commands[0].data_in]),))
            return lambda: None

        monkeypatch.setattr(controller, "start", start)
        witness: Any = controller._recovery._witness
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                assert await witness._persistent_events() == b""
        monkeypatch.undo()

    controlled(tmp_path, work)
    assert asked == actions


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"", "too short"),
        (bytes(4096), "none of this version"),
        (dumps.trace_header("x", 1, 0, TRACE_BYTES), "no such size"),
        (dumps.trace_header("x", 1, 128, 100), "no such size"),
        (dumps.trace_header("x", 1 << 20, 128, TRACE_BYTES), "too many"),
        (dumps.trace_header("x", 2, 128, TRACE_BYTES) + bytes(TRACE_BYTES), "too short"),
    ],
)
def test_a_trace_that_makes_no_sense_is_refused(raw: bytes, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        dumps.read_trace(raw)


def test_a_trace_of_nonsense_is_read_all_the_same() -> None:
    header = dumps.trace_header("x", 1, TRACE_ENTRIES, TRACE_BYTES)
    (queue,) = dumps.read_trace(header + b"\xff" * TRACE_BYTES).queues
    assert len(queue.commands) == TRACE_ENTRIES


# ---- a controller that fails ----


def test_a_reset_is_preceded_by_a_dump(tmp_path: Path) -> None:
    async def work(controller: Controller, follower: Dumping) -> None:
        await controller.execute(WRITE)
        await controller.reset("command 7 of queue 3 is overdue")
        assert not (await controller.execute(WRITE))[0].status

    controlled(tmp_path, work)
    (dump,) = dumps.DumpStore(tmp_path).all()
    assert dump.description["reason"] == "command 7 of queue 3 is overdue"
    assert int(dump.description["properties"]["csts"], 16) & 3 == 1
    assert {"log-01.bin", "log-02.bin", dumps.QUEUES, dumps.DESCRIPTION} == dump.files.keys()
    assert (Opcode.WRITE, 0) in commands_of(dump.path, 1)
    assert dump.path.stat().st_mode & 0o077 == 0
    assert all((dump.path / name).stat().st_mode & 0o077 == 0 for name in dump.files)


def test_a_controller_is_brought_back_before_its_dump_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = dumps.DumpStore(tmp_path)
    found: list[object] = []

    async def work(controller: Controller, follower: Dumping) -> None:
        witness: Any = controller._recovery._witness
        after_reset = witness.after_reset

        def noting() -> None:
            found.append((controller.live, store.all()))
            after_reset()

        monkeypatch.setattr(witness, "after_reset", noting)
        await controller.reset("a failure")

    controlled(tmp_path, work)
    assert found == [(True, [])]
    (dump,) = store.all()
    assert [queue["qid"] for queue in dump.description["queues"]] == [0, 1, 2]


def test_what_hangs_is_named(tmp_path: Path) -> None:
    """Get Features is overdue, and the log that is asked for hangs, too: the reset waits little."""
    faults = ",fault=get-features:hang:count=1,fault=get-log-page:hang:after=1:count=1"

    async def work(controller: Controller, follower: Dumping) -> None:
        begun = time.monotonic()
        await controller.commands.get_feature(6)  # it is sent again
        assert time.monotonic() - begun < 3 * dumping.ASKING_S + 3.0

    controlled(tmp_path, work, timing=Timing(admin_s=0.2, grace_s=0.1), faults=faults)
    (dump,) = dumps.DumpStore(tmp_path).all()
    assert "is overdue" in dump.description["reason"]
    outstanding = [
        each["opc"] for each in dump.description["queues"][0]["outstanding"] if each["opc"] != AER
    ]
    assert outstanding == [AdminOpcode.GET_FEATURES, AdminOpcode.GET_LOG_PAGE]


def test_a_fatal_controller_is_asked_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(controller: Controller, follower: Dumping) -> None:
        transport = controller.transport
        read32, write32, start = transport.read32, transport.write32, controller.start
        fatal = [True]
        asked_meanwhile: list[NvmeCommand] = []

        def read(offset: int) -> int:
            if offset == Register.CSTS and fatal:
                return encode(CSTS, rdy=1, cfs=1)
            return read32(offset)

        def write(offset: int, value: int) -> None:
            if offset == Register.CC and not decode(CC, value).en:
                fatal.clear()
            write32(offset, value)

        def noting(commands: Any, *more: Any) -> Any:
            asked_meanwhile.extend(command for command in commands if fatal)
            return start(commands, *more)

        monkeypatch.setattr(transport, "read32", read)
        monkeypatch.setattr(transport, "write32", write)
        monkeypatch.setattr(controller, "start", noting)
        assert not await controller._recovery.examine()
        assert not fatal
        assert not asked_meanwhile
        await follower._background.wait()

    controlled(tmp_path, work)
    (dump,) = dumps.DumpStore(tmp_path).all()
    assert int(dump.description["properties"]["csts"], 16) & 3 == 3
    assert "log-01.bin" in dump.files


def test_who_asks_for_a_reset_knows_why(tmp_path: Path) -> None:
    async def work(controller: Controller, follower: Dumping) -> None:
        await controller.reset()

    controlled(tmp_path, work)
    assert dumps.DumpStore(tmp_path).all() == []


def test_the_latest_are_kept_and_one_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(controller: Controller, follower: Dumping) -> None:
        await controller.reset("first")
        await controller.reset("at once again")
        monkeypatch.setattr(dumping, "EVERY_S", 0.0)
        for number in range(3):
            await controller.reset(f"later {number}")

    controlled(tmp_path, work, most=2)
    found = dumps.DumpStore(tmp_path).all()
    assert [dump.number for dump in found] == [3, 4]
    assert [dump.description["reason"] for dump in found] == ["later 1", "later 2"]


def test_a_witness_that_fails_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(controller: Controller, follower: Dumping) -> None:
        def fails(*arguments: object) -> None:
            raise RuntimeError("a bug")

        witness: Any = controller._recovery._witness
        monkeypatch.setattr(witness, "paused", fails)
        await controller.reset("a failure")
        assert controller.live
        monkeypatch.undo()

    controlled(tmp_path, work)
    assert "what it was doing is not noted" in caplog.text


# ---- a daemon that is killed ----

DISK = "emulated:memory,size=1M,serial=KILLED"
WRITE_10 = row("WRITE (10)")


def test_the_last_commands_of_a_killed_daemon_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = Daemon(tmp_path, DISK)
    with daemon, Initiator(("127.0.0.1", daemon.port)) as one:
        one.login(IQN)
        one.hear()
        for lba in range(20):
            cdb = WRITE_10.build(lba=lba, transfer_length=1)
            assert one.command(0, cdb, data_out=bytes(512)).status == 0
        os.kill(daemon.pid, signal.SIGKILL)
        assert daemon.process is not None
        daemon.process.wait()
        daemon.log.write_text("")
        daemon.start()
    where = ("--state-dir", str(tmp_path))
    assert main(["dumps", *where]) == 0
    listed = capsys.readouterr().out
    assert listed.count("\n") == 1
    assert f"{DISK}: the daemon (process " in listed
    assert "did not end in order: its state is kept as dump 1, see: scsi2nvme dumps show 1" in (
        daemon.log.read_text()
    )
    assert main(["dumps", "show", "1", "--json", *where]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["crash"] is True
    written = [
        each["cdw10"]
        for queue in shown["trace"]["queues"]
        for each in queue["commands"]
        if queue["qid"] and each["opc"] == Opcode.WRITE
    ]
    assert sorted(written) == list(range(20))
    assert main(["dumps", "show", "1", *where]) == 0
    assert "Write cid" in capsys.readouterr().out
    tar = tmp_path / "one.tar"
    assert main(["dumps", "fetch", "1", str(tar), *where]) == 0
    with tarfile.open(tar) as packed:
        assert f"scsi2nvme-dump-1/{dumps.QUEUES}" in packed.getnames()
    assert main(["dumps", "remove", "1", *where]) == 0
    assert main(["dumps", *where]) == 0
    assert capsys.readouterr().out == ""


def test_a_daemon_that_ends_in_order_leaves_no_trace(tmp_path: Path) -> None:
    with Daemon(tmp_path, DISK) as daemon:
        assert (dumps.traces(tmp_path) / "0.trace").stat().st_size > TRACE_BYTES
        assert daemon.stop() == 0
    assert not dumps.traces(tmp_path).exists()
    assert dumps.DumpStore(tmp_path).all() == []


def test_a_trace_that_cannot_be_read_is_told_and_goes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    traces = dumps.traces(tmp_path)
    traces.mkdir(mode=0o700)
    (traces / "0.trace").write_bytes(b"nonsense")
    Dumping(tmp_path, 8).take_over()
    assert "is no trace: it is too short" in caplog.text
    assert not list(traces.iterdir())


def test_a_dump_whose_description_is_lost_is_listed(tmp_path: Path) -> None:
    (tmp_path / dumps.DUMPS / "7").mkdir(parents=True)
    (dump,) = dumps.DumpStore(tmp_path).all()
    assert "cannot be read" in dump.description["reason"]
    with pytest.raises(OperationError, match="there are: 7"):
        dumps.DumpStore(tmp_path).one(8)


@pytest.mark.parametrize(
    "told",
    [
        {"at_s": 1e300, "reason": "x", "controller": "y", "queues": []},
        {"at_s": float("nan"), "reason": "x", "controller": "y"},
        {"reason": "x", "controller": "y", "properties": [1]},
        {"reason": "x", "controller": "y", "queues": [{"qid": 1}]},
        {"reason": "x", "controller": "y", "queues": 7},
    ],
)
def test_a_dump_of_nonsense_is_shown_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], told: dict[str, Any]
) -> None:
    header = bytearray(dumps.trace_header("x", 1, TRACE_ENTRIES, TRACE_BYTES))
    header[32:40] = b"\xff" * 8  # wall_ms
    trace = bytes(header) + b"\1" * TRACE_BYTES
    dumps.DumpStore(tmp_path).add({dumps.QUEUES: trace}, **told)
    where = ["--state-dir", str(tmp_path)]
    assert main(["dumps", *where]) == 0
    status = main(["dumps", "show", "1", *where])
    words = capsys.readouterr()
    assert (status, words.err) == (0, "") or "makes no sense" in words.err


def test_traces_are_not_in_a_folder_of_somebody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dumps, "_MEMORY", tmp_path)
    own = tmp_path / f"scsi2nvme-{os.geteuid()}"
    assert dumps.traces(tmp_path).parent == own
    own.chmod(0o777)
    assert dumps.traces(tmp_path) == tmp_path / "traces"
    own.rmdir()
    own.symlink_to(tmp_path)
    assert dumps.traces(tmp_path) == tmp_path / "traces"
    monkeypatch.setattr(dumps, "_MEMORY", tmp_path / "none")
    assert dumps.traces(tmp_path) == tmp_path / "traces"


def test_nothing_is_left_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, state_dir = tmp_path / "memory", tmp_path / "state"
    memory.mkdir()
    state_dir.mkdir()
    monkeypatch.setattr(dumps, "_MEMORY", memory)
    dumping = Dumping(state_dir, 8)
    asyncio.run(dumping.close())
    assert not list(memory.iterdir())
    dumps.traces(state_dir).mkdir()
    (dumps.traces(tmp_path)).mkdir()
    asyncio.run(dumping.close())
    assert list(memory.iterdir()) == [dumps.traces(tmp_path).parent]
    dumps.leave(dumps.traces(tmp_path))
    assert not list(memory.iterdir())
