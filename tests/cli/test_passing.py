"""Commands as people write them: what they become, and who is told."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.api import rpc
from scsi2nvme.api.passing import COMMAND, LOOK, PROPERTIES, WhichCommand, WhichProperties
from scsi2nvme.cli import progress
from scsi2nvme.cli.errors import FAILED, OperationError, UsageError
from scsi2nvme.cli.passing.conversation import Pause, Shown
from scsi2nvme.client import Client, RpcError
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.log_structures import (
    SANITIZE_STATUS,
    TELEMETRY_HEADER,
)
from scsi2nvme.nvme.registers import Register
from scsi2nvme.nvme.structures import (
    IDENTIFY_CONTROLLER,
    PRIMARY_CONTROLLER_CAPABILITIES,
    SECONDARY_CONTROLLER,
)
from tests.cli.played import played
from tests.daemon import IQN, Daemon
from tests.iscsi_client import Initiator
from tests.support import row
from tests.waiting import until

# ---- what verbs send, and show ----


@pytest.mark.parametrize(
    ("line", "opcode", "fields"),
    [
        ("flush", Opcode.FLUSH, {"nsid": 0xFFFFFFFF}),
        ("read -s 0x100000002 -c 1", Opcode.READ, {"cdw10": 2, "cdw11": 1, "cdw12": 1}),
        ("read -c 1 -f -l -p 5", Opcode.READ, {"cdw12": 1 | 3 << 30 | 5 << 26, "data_in": 8192}),
        ("write-zeroes -n 3 -c 7 -d", Opcode.WRITE_ZEROES, {"nsid": 3, "cdw12": 7 | 1 << 25}),
        ("write-uncor -s 9", Opcode.WRITE_UNCORRECTABLE, {"cdw10": 9}),
        ("verify -c 0xff", Opcode.VERIFY, {"cdw12": 255}),
        ("dsm -b 1,2 -s 3,4 -d", Opcode.DATASET_MANAGEMENT, {"cdw10": 1, "cdw11": 4}),
        ("format -n 1 -b 8192 -s 1", AdminOpcode.FORMAT_NVM, {"cdw10": 2 | 1 << 9}),
        ("format -n 1", AdminOpcode.FORMAT_NVM, {"cdw10": 1}),
        ("format -n 2 -l 17 -i 3 -p 1 -m 1", AdminOpcode.FORMAT_NVM, {"cdw10": 0x1171}),
        ("sanitize -a start-overwrite -n 2 -p 7", AdminOpcode.SANITIZE, {"cdw10": 0x23}),
        ("sanitize -a 4 -d -u", AdminOpcode.SANITIZE, {"cdw10": 0x20C, "cdw11": 0}),
        ("get-feature -f 6 -s 2", AdminOpcode.GET_FEATURES, {"cdw10": 0x206}),
        ("get-feature -f 0xe", AdminOpcode.GET_FEATURES, {"data_in": 8}),
        ("get-feature -f 0x81 -c 1", AdminOpcode.GET_FEATURES, {"data_in": 16}),
        ("set-feature -f 6 -v 1 -s", AdminOpcode.SET_FEATURES, {"cdw10": 1 << 31 | 6, "cdw11": 1}),
        ("list-ns -n 5", AdminOpcode.IDENTIFY, {"cdw10": 2, "nsid": 4}),
        ("list-ns -a -y 2", AdminOpcode.IDENTIFY, {"cdw10": 0x1A, "cdw11": 2 << 24}),
        ("primary-ctrl-caps -c 5", AdminOpcode.IDENTIFY, {"cdw10": 0x14 | 5 << 16}),
        ("list-secondary -c 3", AdminOpcode.IDENTIFY, {"cdw10": 0x15 | 3 << 16}),
        (
            "virt-mgmt -c 2 -r 1 -a 8 -n 3",
            AdminOpcode.VIRTUALIZATION_MANAGEMENT,
            {"cdw10": 2 << 16 | 1 << 8 | 8, "cdw11": 3},
        ),
        ("list-ctrl -n 1 -c 3", AdminOpcode.IDENTIFY, {"cdw10": 0x12 | 3 << 16, "nsid": 1}),
        (
            "get-lba-status -n 2 -s 0x100000003 -l 9 -a 0x10 -m 21",
            AdminOpcode.GET_LBA_STATUS,
            {"nsid": 2, "cdw10": 3, "cdw11": 1, "cdw12": 21, "cdw13": 0x10000009, "data_in": 88},
        ),
        ("id-ns-descs -n 2", AdminOpcode.IDENTIFY, {"cdw10": 3, "nsid": 2}),
        ("admin-passthru -o 0xc2 -2 1 -3 2 -4 3 -9 4 -r -l 8", 0xC2, {"cdw2": 1, "cdw15": 4}),
        ("io-passthru -o 0x82 -n 1 -t 1500", 0x82, {"nsid": 1, "timeout_s": 1.5}),
    ],
)
def test_a_verb_sends_its_command(line: str, opcode: int, fields: dict[str, Any]) -> None:
    asked, _ = played(line, lambda command: Completion(data=bytes(max(command.data_in, 4096))))
    command = asked[-1]
    assert command.opcode == opcode
    assert {name: getattr(command, name) for name in fields} == fields


def test_secondary_controllers_are_shown_with_their_states() -> None:
    entries = (
        SECONDARY_CONTROLLER.build(scid=1, pcid=0, scs=1, vfn=1, nvq=2, nvi=1),
        SECONDARY_CONTROLLER.build(scid=2, pcid=0, vfn=2),
    )
    raw = bytes([2]).ljust(32, b"\0") + b"".join(entries)
    answer = Completion(data=raw.ljust(4096, b"\0"))
    _, shown = played("list-secondary", lambda command: answer)
    assert shown.lines[1:] == (
        "[   0]:0x1 Online, of primary 0x0, virtual function 1, 2 queues, 1 interrupts",
        "[   1]:0x2 Offline, of primary 0x0, virtual function 2, 0 queues, 0 interrupts",
    )
    assert [row["num-virtual-queues"] for row in shown.json["secondary-controllers"]] == [2, 0]
    assert played("list-secondary -e 1", lambda command: answer)[1].json["num"] == 1
    full = Completion(data=b"\xff" * 4096)
    assert played("list-secondary", lambda command: full)[1].json["num"] == 127


def test_what_a_primary_controller_can_give() -> None:
    raw = PRIMARY_CONTROLLER_CAPABILITIES.build(cntlid=3, crt=3, vqfrt=4, vqprt=60, vifrsm=1)
    _, shown = played("primary-ctrl-caps -H", lambda command: Completion(data=raw))
    assert shown.json["vqfrt"] == 4
    assert "vqprt  : 60 (queues that the primary has for good)" in shown.lines


def test_what_is_modified_of_a_secondary_controller_is_told() -> None:
    _, shown = played("virt-mgmt -c 1 -a 8 -n 2", lambda command: Completion(dw0=2))
    assert shown.json == {"nrm": 2}
    with pytest.raises(UsageError, match="action 2 is unknown"):
        played("virt-mgmt -c 1 -a 2", lambda command: Completion())


def test_a_log_is_read_piece_by_piece_and_acknowledged_at_the_end() -> None:
    asked, shown = played(
        "get-log -i 0xc0 -l 9000 -s 3 -o 64",
        lambda command: Completion(data=bytes([command.cdw12 >> 8]) * command.data_in),
    )
    assert [command.cdw12 for command in asked] == [64, 64 + 4096, 64 + 8192]
    assert [command.data_in for command in asked] == [4096, 4096, 808]
    assert [command.cdw10 >> 15 & 1 for command in asked] == [1, 1, 0]
    assert {command.cdw10 >> 8 & 0x7F for command in asked} == {3}
    assert len(shown.raw) == 9000


def test_telemetry_is_made_read_and_kept() -> None:
    header = TELEMETRY_HEADER.build(lid=7, area1_last=1, area2_last=2, area3_last=9, generation=5)

    def answer(command: NvmeCommand) -> Completion:
        data = header.ljust(10 * 512, b"\7")
        at = command.cdw12
        return Completion(data=data[at : at + command.data_in])

    asked, shown = played("telemetry-log -o out", answer)
    assert (shown.file, len(shown.raw)) == ("out", 10 * 512)
    assert shown.raw == header.ljust(10 * 512, b"\7")
    assert [command.cdw10 >> 8 & 1 for command in asked] == [1, 0, 0, 0]  # one snapshot


def test_telemetry_that_is_made_anew_meanwhile_is_of_no_use() -> None:
    generations = iter(range(9))

    def answer(command: NvmeCommand) -> Completion:
        return Completion(data=TELEMETRY_HEADER.build(generation=next(generations)))

    with pytest.raises(OperationError, match="made anew"):
        played("telemetry-log -o out", answer)


def test_a_self_test_is_waited_for() -> None:
    left = iter((1, 1, 0))

    def answer(command: NvmeCommand) -> Completion:
        log = command.opcode == AdminOpcode.GET_LOG_PAGE
        return Completion(data=bytes((next(left), 50, 0, 0)) if log else b"")

    asked, shown = played("device-self-test -s 2 -w", answer)
    assert sum(isinstance(each, Pause) for each in asked) == 2
    assert shown.lines == ("Extended Device self-test started",)


@pytest.mark.parametrize("state", [1, 3])
def test_a_sanitize_operation_is_waited_for(state: int) -> None:
    states = iter((2, 2, state))
    done: list[float] = []

    def answer(command: NvmeCommand) -> Completion:
        if command.opcode != AdminOpcode.GET_LOG_PAGE:
            return Completion()
        return Completion(data=SANITIZE_STATUS.build(sprog=0x4000, state=next(states)))

    if state == 3:
        with pytest.raises(OperationError, match="has failed"):
            played("sanitize -a 2 -w", answer)
        return
    asked, shown = played("sanitize -a 2 -w", answer, done.append)
    assert sum(isinstance(each, Pause) for each in asked) == 2
    assert shown.lines == ("all that was on the disk is erased",)
    assert done == [0.25, 0.25]


def test_how_far_firmware_is_sent_is_told(tmp_path: Path) -> None:
    done: list[float] = []
    (tmp_path / "image").write_bytes(bytes(10000))
    identity = Completion(data=IDENTIFY_CONTROLLER.build(fwug=0xFF))
    played(f"fw-download -f {tmp_path}/image -x 4000 0", lambda command: identity, done.append)
    assert done == [0.4, 0.8, 1]


class Terminal(StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_FIRST_S", 0.01)
    monkeypatch.setattr(progress, "_EVERY_S", 0.01)
    stream = Terminal()
    with progress.Progress("format", stream) as told:
        until(lambda: "format: 0:00" in stream.getvalue(), "how long it takes is told")
        told.at(0.42)
        until(lambda: "42 % done" in stream.getvalue(), "how far it is is told")
    assert stream.getvalue().endswith("\r\033[K")


def test_who_is_no_terminal_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_FIRST_S", 0.0)
    stream = StringIO()
    with progress.Progress("format", stream) as told:
        told.at(0.5)
    assert stream.getvalue() == ""


def test_sanitize_log_has_nvme_clis_keys() -> None:
    log = SANITIZE_STATUS.build(sprog=0x8000, state=2, passes=1, global_erased=1, cdw10_info=3)
    _, shown = played("sanitize-log -H", lambda command: Completion(data=log))
    assert shown.json["sprog"] == 0x8000
    assert shown.json["sstat"] == {"status": 2, "no_cmplted_passes": 1, "global_erased": 1}
    assert any("50.00%" in line for line in shown.lines)


# ---- a controller that is opened for it ----


def test_a_spec_is_asked_and_changed(tmp_path: Path, capfdbinary: Any) -> None:
    image = f"emulated:{tmp_path}/disk.img,size=1M"
    data = tmp_path / "data"
    data.write_bytes(bytes(range(256)) * 2)
    assert main(["write", image, "-s", "3", "-d", str(data)]) == 0
    out = tmp_path / "out"
    assert main(["read", image, "-s", "3", "-d", str(out)]) == 0
    assert out.read_bytes() == data.read_bytes()
    assert os.stat(out).st_mode & 0o077 == 0
    capfdbinary.readouterr()
    assert main(["compare", image, "-s", "3", "-d", str(data), "-v"]) == 0
    shown = capfdbinary.readouterr().out.splitlines()
    assert shown[0].startswith(b"opcode:0x5 nsid:0x1 ")
    assert shown[1:] == [b"compare: Success"]
    asked = ["get-lba-status", f"{image},lba-status=on", "-a", "2", "-o", "json"]
    assert main(asked) == 0
    told = json.loads(capfdbinary.readouterr().out)
    assert told == {"nlsd": 1, "cmpc": 2, "descriptors": [{"dslba": 0, "nlb": 7, "status": 0}]}
    assert main(["read", image, "-s", "3", "-d", "-"]) == 0
    assert main(["compare", image, "-s", "4", "-d", str(data)]) == 1
    assert b"Compare Failure (SCT 2h SC 85h)" in capfdbinary.readouterr().err
    assert main(["format", image, "-n", "1", "-b", "4096"]) == 0
    capfdbinary.readouterr()
    command = ["io-passthru", image, "-o", "2", "-n", "1", "-l", "4096", "-r", "-b"]
    assert main(command) == 0
    assert capfdbinary.readouterr().out == bytes(4096)


def test_what_only_looks_leaves_an_image_as_it_is(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    spec = f"emulated:{image},size=1M"
    assert main(["list-ns", f"emulated:{image}"]) == 1  # and makes none
    assert main(["flush", spec]) == 1
    assert not image.exists()
    assert main(["set-feature", spec, "-f", "6", "-v", "0", "-s"]) == 0
    assert image.exists()


# ---- a daemon ----

DISK = "emulated:memory,size=1M,namespaces=2"
TEST_UNIT_READY = bytes(6)
WRITE = row("WRITE (10)").build(lba=2, transfer_length=1)
READ = row("READ (10)").build(lba=2, transfer_length=1)
CAPACITY_CHANGED, MODE_CHANGED = (6, 0x2A, 0x09), (6, 0x2A, 0x01)
INQUIRY_CHANGED = (6, 0x3F, 0x03)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon"), DISK) as daemon:
        yield daemon


@pytest.fixture
def client(running: Daemon) -> Iterator[Client]:
    with Client(running.state_dir / "control.sock") as daemon:
        yield daemon


@pytest.fixture
def initiator(running: Daemon) -> Iterator[Initiator]:
    with Initiator(("127.0.0.1", running.port)) as one:
        one.login(IQN)
        for lun in (0, 1):
            one.hear(lun)
        yield one


def told(initiator: Initiator, lun: int) -> list[tuple[int, int, int]]:
    """Return the unit attentions that wait for an initiator."""
    found = []
    while (answer := initiator.command(lun, TEST_UNIT_READY)).status:
        found.append(answer.sense_triple)
        assert answer.sense_triple[0] == 6
    return found


def test_a_daemons_controller_is_asked(
    running: Daemon, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    which = WhichCommand("0", AdminOpcode.IDENTIFY, cdw10=1, data_in=4096)
    ended = client.call(LOOK, which)
    assert (ended.status, len(bytes.fromhex(ended.data))) == (0, 4096)
    assert client.call(LOOK, WhichCommand("0", 6, cdw10=0x55, data_in=4096)).status == 2
    found = client.call(PROPERTIES, WhichProperties("0"))
    assert found[str(int(Register.CSTS))] & 3 == 1
    assert main(["list-ns", "-o", "json", "--state-dir", str(running.state_dir)]) == 0
    assert json.loads(capsys.readouterr().out) == {"nsid_list": [{"nsid": 1}, {"nsid": 2}]}


@pytest.mark.parametrize(
    "which",
    [
        WhichCommand("0", AdminOpcode.IDENTIFY, cdw10=1),
        WhichCommand("0", AdminOpcode.IDENTIFY, cdw10=1, data_in=7),
        WhichCommand("0", AdminOpcode.GET_LOG_PAGE, cdw10=5 | 1023 << 16, data_in=4),
        WhichCommand("0", AdminOpcode.GET_LOG_PAGE, cdw10=1 | 3071 << 16, data_in=4097),
        WhichCommand("0", Opcode.READ, admin=False, nsid=1, cdw12=31, data_in=512),
    ],
)
def test_a_controller_finds_room_for_all_that_it_moves(client: Client, which: WhichCommand) -> None:
    """Behind the room that it is given is what belongs to others, or no memory."""
    ended = client.call(LOOK if which.admin else COMMAND, which)
    assert (ended.status, len(bytes.fromhex(ended.data))) == (0, which.data_in)


@pytest.mark.parametrize(
    ("which", "method", "code", "words"),
    [
        (WhichCommand("0", 0x01), COMMAND, rpc.IMPOSSIBLE, "the driver alone keeps queues"),
        (WhichCommand("0", 0x0C, force=True), COMMAND, rpc.IMPOSSIBLE, "waits for events"),
        (WhichCommand("0", 0x80, nsid=1), COMMAND, rpc.IMPOSSIBLE, "--force does it all the same"),
        (WhichCommand("0", 1, admin=False, nsid=1), COMMAND, rpc.IMPOSSIBLE, "it changes blocks"),
        (WhichCommand("0", 0xC1), COMMAND, rpc.IMPOSSIBLE, "nobody knows what it does"),
        (WhichCommand("0", 0x09, cdw10=6), LOOK, rpc.INVALID_PARAMS, "does more than look"),
        (WhichCommand("0", 2, admin=False, nsid=1), LOOK, rpc.INVALID_PARAMS, "does more"),
        (WhichCommand("0", 2, cdw10=7, data_in=4), LOOK, rpc.INVALID_PARAMS, "does more"),
        (WhichCommand("0", 256), LOOK, rpc.INVALID_PARAMS, "opcode: 256 is not between 0 and 255"),
        (WhichCommand("0", 6, nsid=1 << 32), LOOK, rpc.INVALID_PARAMS, "nsid: 4294967296"),
        (WhichCommand("0", 6, data_in=(2 << 20) + 1), LOOK, rpc.INVALID_PARAMS, "data_in"),
        (WhichCommand("0", 6, data_in=(128 << 10) + 1), LOOK, rpc.INVALID_PARAMS, "at most 131072"),
        (WhichCommand("0", 2, cdw10=2, cdw11=1), LOOK, rpc.INVALID_PARAMS, "262148 bytes"),
        (WhichCommand("0", 6, data_out="00"), LOOK, rpc.IMPOSSIBLE, "it takes no data"),
        (
            WhichCommand("0", 1, admin=False, nsid=1, cdw12=1, data_out="00" * 512, force=True),
            COMMAND,
            rpc.IMPOSSIBLE,
            "it takes 1024 bytes of data, not 512",
        ),
        (
            WhichCommand("0", 2, admin=False, nsid=1, cdw12=0xFFFF, data_in=512),
            COMMAND,
            rpc.IMPOSSIBLE,
            "33554432 bytes of data",
        ),
        (WhichCommand("0", 9, data_out="x"), COMMAND, rpc.INVALID_PARAMS, "data_out: not bytes"),
        (WhichCommand("0", 9, data_out="00", data_in=1), COMMAND, rpc.INVALID_PARAMS, "one way"),
        (WhichCommand("0", 2, admin=False, nsid=9), COMMAND, rpc.IMPOSSIBLE, "no namespace 9"),
        (WhichCommand("9", 6), LOOK, rpc.IMPOSSIBLE, "there is no controller '9'"),
    ],
)
def test_what_a_daemon_does_not_send(
    client: Client, which: WhichCommand, method: Any, code: int, words: str
) -> None:
    with pytest.raises(RpcError, match=words) as caught:
        client.call(method, which)
    assert caught.value.code == code


def test_what_is_written_for_its_owner_alone() -> None:
    assert COMMAND.restricted
    assert not LOOK.restricted


def test_a_write_is_forced_and_read(client: Client, initiator: Initiator) -> None:
    data = bytes(range(256)) * 2
    which = WhichCommand(
        "0", Opcode.WRITE, admin=False, nsid=2, cdw10=2, data_out=data.hex(), force=True
    )
    assert client.call(COMMAND, which).status == 0
    assert initiator.command(1, READ, data_in=512).data == data
    which = WhichCommand("0", Opcode.READ, admin=False, nsid=2, cdw10=2, data_in=512)
    assert bytes.fromhex(client.call(COMMAND, which).data) == data


def test_a_format_is_a_change_of_the_disk(client: Client, initiator: Initiator) -> None:
    assert initiator.command(0, WRITE, data_out=b"\1" * 512).status == 0
    which = WhichCommand("0", AdminOpcode.FORMAT_NVM, nsid=1, cdw10=1, force=True)
    assert client.call(COMMAND, which).status == 0
    assert {CAPACITY_CHANGED, INQUIRY_CHANGED} == set(told(initiator, 0))
    assert not told(initiator, 1)
    cdb = row("READ CAPACITY (10)").build()
    data = initiator.command(0, cdb, data_in=8).data
    assert int.from_bytes(data[4:8], "big") == 4096
    assert initiator.command(0, READ, data_in=4096).data == bytes(4096)
    assert client.call(COMMAND, WhichCommand("0", 0x80, nsid=1, cdw10=0, force=True)).status == 0
    assert CAPACITY_CHANGED in told(initiator, 0)
    assert initiator.command(0, WRITE, data_out=b"\1" * 512).status == 0


def test_a_format_that_is_refused_changes_nothing(client: Client, initiator: Initiator) -> None:
    which = WhichCommand("0", AdminOpcode.FORMAT_NVM, nsid=1, cdw10=0xF, force=True)
    assert client.call(COMMAND, which).status == 0x10A
    assert not told(initiator, 0)
    assert initiator.command(0, WRITE, data_out=b"\1" * 512).status == 0


def test_initiators_are_told_of_settings_that_they_see(
    client: Client, initiator: Initiator
) -> None:
    for value in (0, 1):
        which = WhichCommand("0", AdminOpcode.SET_FEATURES, cdw10=6, cdw11=value)
        assert client.call(COMMAND, which).status == 0
        assert [told(initiator, lun) for lun in (0, 1)] == [[MODE_CHANGED]] * 2
        cdb = row("MODE SENSE (6)").build(page_code=8, allocation_length=64, dbd=1)
        page = initiator.command(0, cdb, data_in=64).data[4:]
        assert page[2] >> 2 & 1 == value  # WCE


def test_what_is_forced_is_told(running: Daemon, client: Client) -> None:
    which = WhichCommand("0", Opcode.WRITE_ZEROES, admin=False, nsid=1, cdw10=2, force=True)
    assert client.call(COMMAND, which).status == 0
    assert "Write Zeroes is forced: it changes blocks" in running.log.read_text()


def test_who_asks_for_it_in_vain_is_told_what_to_do(
    running: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["format", "-n", "1", "--state-dir", str(running.state_dir)]) == 1
    assert capsys.readouterr().err == (
        "scsi2nvme: Format Nvm is refused while the controller is served: it erases namespaces "
        "that are served; --force does it all the same\n"
    )


def test_what_identify_tells_is_had_in_every_form(capfdbinary: Any) -> None:
    disk = "emulated:memory,size=1M"
    assert main(["id-ctrl", disk, "-o", "json"]) == 0
    told = json.loads(capfdbinary.readouterr().out)
    for form in (["-b"], ["-o", "binary"]):
        assert main(["id-ctrl", disk, *form]) == 0
        raw = capfdbinary.readouterr().out
        assert len(raw) == 4096
        assert IDENTIFY_CONTROLLER.parse(raw).text("mn") == told["mn"]


SPEC = "emulated:memory"


@pytest.mark.parametrize(
    ("line", "data"),
    [
        ("format SPEC -n 1", "all data in namespace 1 of SPEC are lost"),
        ("format SPEC -n 0xffffffff", "all data in all namespaces of SPEC are lost"),
        ("delete-ns SPEC -n 2", "all data in namespace 2 of SPEC are lost"),
        ("sanitize SPEC -a start-block-erase", "all data of SPEC are lost"),
        ("sanitize SPEC -a exit-failure", ""),
        ("format 0 -n 1 --state-dir DIR", ""),  # a daemon wants --force
        ("format SPEC -n 1 --force", ""),
    ],
)
def test_a_person_is_asked_before_all_is_lost(
    line: str,
    data: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        return ""

    monkeypatch.setattr("scsi2nvme.cli.confirming.somebody_is_there", lambda: True)
    monkeypatch.setattr("builtins.input", answer)
    monkeypatch.setattr("scsi2nvme.cli.verbs.passing._shown", lambda row, given: Shown(("done",)))
    words = line.replace("SPEC", SPEC).replace("DIR", str(tmp_path)).split()
    if data:
        verb = words[0]
        assert main(words) == FAILED
        assert asked == [f"{verb}: {data.replace('SPEC', SPEC)}. Go on? [y/N] "]
        assert capsys.readouterr().err == "scsi2nvme: nothing was done\n"
        monkeypatch.setattr("builtins.input", lambda prompt: "y")
    assert main(words) == 0
    assert capsys.readouterr().out == "done\n"
