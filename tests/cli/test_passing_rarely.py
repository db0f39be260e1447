"""Commands that people write themselves for what few disks have."""

from __future__ import annotations

import hmac
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.api.passing import DATA_OUT_BYTES
from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.cli.passing.conversation import Properties, Shown, SubsystemReset, heard
from scsi2nvme.cli.verbs.passing import rows
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.log_structures import BOOT_PARTITION
from scsi2nvme.nvme.passing import danger, harmless
from scsi2nvme.nvme.rpmb import FRAME, SUPPORT, Message
from scsi2nvme.nvme.sets import (
    CAPACITY_CONFIGURATION,
    CAPACITY_CONFIGURATIONS,
    CHANNEL_CONFIGURATION,
    ENDURANCE_GROUP_CONFIGURATION,
    MEDIA_UNIT,
    MEDIA_UNIT_CONFIGURATION,
    MEDIA_UNITS,
)
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER, IDENTIFY_NAMESPACE, LBA_FORMAT
from scsi2nvme.nvme.zoned import IDENTIFY_ZONED_NAMESPACE, LBA_FORMAT_EXTENSION
from tests.cli.played import given, played

# ---- replay protected memory ----

KEY = bytes(range(32))


class Memory:
    """A controller with two targets of 128 KiB, which move two sectors at a time."""

    def __init__(self, **support: int) -> None:
        told = SUPPORT.build(**{"units": 2, "access": 1, **support})
        self._identity = IDENTIFY_CONTROLLER.build(rpmbs=int.from_bytes(told, "little"))
        self.keys: dict[int, bytes] = {}
        self.counters = [0, 0]
        self.data = [bytearray(128 << 10), bytearray(128 << 10)]
        self.configuration = bytes(512)
        self.asked: list[int] = []
        self._answer = b""
        self._ended = (0, 0, 0)

    def __call__(self, command: NvmeCommand) -> Completion:
        if command.opcode == AdminOpcode.IDENTIFY:
            return Completion(data=self._identity)
        assert command.cdw10 >> 8 == 0xEA0001
        target = command.cdw10 & 0xFF
        if command.opcode == AdminOpcode.SECURITY_RECEIVE:
            assert len(self._answer) == command.cdw11 == command.data_in
            return Completion(data=self._answer)
        assert command.cdw11 == len(command.data_out)
        self._take(target, command.data_out)
        return Completion()

    def _take(self, target: int, raw: bytes) -> None:
        frame, data = FRAME.parse(raw[:256]), raw[256:]
        message = Message(frame.message)
        assert frame.target == target
        self.asked.append(message)
        nonce = frame.bytes("nonce")
        key = self.keys.get(target)
        if message is Message.PROGRAM_KEY:
            self.keys.setdefault(target, frame.bytes("mac"))
            self._ended = (message, 0 if key is None else 1, 0)
        elif message is Message.READ_RESULT:
            self._say(target, *self._ended)
        elif message is Message.READ_COUNTER:
            self._say(target, message, 0 if key else 7, self.counters[target], nonce)
        elif message is Message.READ_DATA:
            at = frame.address * 512
            read = bytes(self.data[target][at : at + frame.sectors * 512])
            self._say(target, message, 0, 0, nonce, read)
        elif message is Message.READ_CONFIGURATION:
            self._say(target, message, 0, 0, nonce, self.configuration)
        else:
            self._ended = (message, self._write(target, raw, data), self.counters[target])

    def _write(self, target: int, raw: bytes, data: bytes) -> int:
        frame = FRAME.parse(raw[:256])
        if hmac.digest(self.keys[target], raw[223:], "sha256") != frame.bytes("mac"):
            return 2
        if frame.counter != self.counters[target]:
            return 3
        self.counters[target] += 1
        if frame.message == Message.WRITE_CONFIGURATION:
            self.configuration = data
        else:
            at = frame.address * 512
            self.data[target][at : at + len(data)] = data
        return 0

    def _say(
        self,
        target: int,
        message: int,
        result: int,
        counter: int = 0,
        nonce: bytes = b"",
        data: bytes = b"",
    ) -> None:
        head = bytearray(
            FRAME.build(
                target=target,
                message=message << 8,
                result=result,
                counter=counter,
                nonce=int.from_bytes(nonce, "little"),
            )
        )
        code = hmac.digest(self.keys.get(target, b""), bytes(head[223:]) + data, "sha256")
        head[191:223] = code
        self._answer = bytes(head) + data


@pytest.fixture
def key(tmp_path: Path) -> str:
    (tmp_path / "key").write_bytes(KEY)
    return f"-g {tmp_path}/key"


def rpmb(line: str, memory: Callable[[NvmeCommand], Completion]) -> Shown:
    return asked_all(f"rpmb {line}", memory)


def asked_all(line: str, answer: Callable[[Any], Any]) -> Shown:
    """Return what a verb shows that asks `answer` of everything."""
    arguments = given(line)
    (one,) = (each for each in rows() if arguments.subcommand in (each.name, each.alias))
    conversation = heard(one.converse(arguments), lambda fraction: None)
    told: Any = None
    while True:
        try:
            told = answer(conversation.send(told))
        except StopIteration as ended:
            shown: Shown = ended.value
            return shown


def test_protected_memory_is_written_and_read(tmp_path: Path, key: str) -> None:
    memory = Memory()
    written = bytes(range(256)) * 6  # three sectors: two, and one
    (tmp_path / "data").write_bytes(written)
    assert rpmb(f"-c program-key -t 1 {key}", memory).lines == ("target 1 has its key, for good",)
    assert memory.keys == {1: KEY}
    shown = rpmb(f"-c write-data -t 1 -o 5 -f {tmp_path}/data {key}", memory)
    assert shown.lines == ("3 sectors are written, write counter 2",)
    assert rpmb("-c read-counter -t 1", memory).lines == ("Write Counter is: 2",)
    assert memory.data[1][5 * 512 : 8 * 512] == written
    read = rpmb(f"-c read-data -t 1 -o 5 -b 3 -f {tmp_path}/out {key}", memory)
    assert (read.raw, read.file, read.lines) == (written, f"{tmp_path}/out", ())
    assert rpmb("-c read-data -t 1 -o 5 -b 1", memory).raw == written[:512]


def test_the_configuration_of_protected_memory_is_written_and_read(
    tmp_path: Path, key: str
) -> None:
    memory = Memory()
    memory.keys[0] = KEY
    rpmb(f"-c write-config -d boot {key}", memory)
    assert memory.configuration == b"boot".ljust(512, b"\0")
    assert rpmb(f"-c read-config {key}", memory).raw == memory.configuration
    with pytest.raises(UsageError, match="of --target 0"):
        rpmb("-c read-config -t 1", memory)


def test_what_protected_memory_answers_is_judged(tmp_path: Path, key: str) -> None:
    memory = Memory()
    with pytest.raises(OperationError, match="no key is programmed"):
        rpmb("-c read-counter", memory)
    memory.keys[0] = bytes(32)
    with pytest.raises(OperationError, match="the answer is not made by this key"):
        rpmb(f"-c read-data -b 1 {key}", memory)
    with pytest.raises(OperationError, match="general failure"):
        rpmb(f"-c program-key {key}", memory)
    assert memory.keys[0] == bytes(32)
    answers: list[Completion] = []

    def replayed(command: NvmeCommand) -> Completion:
        answer = memory(command)
        if command.opcode == AdminOpcode.SECURITY_RECEIVE:
            answers.append(answer)
            return answers[0]
        return answer

    rpmb("-c read-data -b 1", replayed)
    with pytest.raises(OperationError, match="the answer is an old one"):
        rpmb("-c read-data -b 1", replayed)


def test_no_more_is_written_at_once_than_a_daemon_takes(tmp_path: Path, key: str) -> None:
    memory, sent = Memory(access=255), []
    memory.keys[0] = KEY
    (tmp_path / "data").write_bytes(os.urandom(128 << 10))

    def counted(command: NvmeCommand) -> Completion:
        sent.append(len(command.data_out))
        return memory(command)

    rpmb(f"-c write-data -f {tmp_path}/data {key}", counted)
    assert memory.data[0] == (tmp_path / "data").read_bytes()
    assert max(sent) == 256 + 55 * 512 <= DATA_OUT_BYTES
    failed = iter((False, True))

    def failing(command: NvmeCommand) -> Completion:
        if command.data_out[254:255] == bytes([Message.WRITE_DATA]) and next(failed):
            memory.keys[0] = bytes(32)
        return memory(command)

    with pytest.raises(OperationError, match="; 55 sectors before are written"):
        rpmb(f"-c write-data -f {tmp_path}/data {key}", failing)


def test_a_write_is_believed_by_its_own_counter_alone(key: str) -> None:
    memory = Memory()
    memory.keys[0] = KEY
    written: list[Completion] = []

    def replayed(command: NvmeCommand) -> Completion:
        answer = memory(command)
        if answer.data[254:256] == b"\0\3":  # an authenticated one, but without a nonce
            written.append(answer)
            return written[0]
        return answer

    rpmb(f"-c write-data -d x {key}", replayed)
    with pytest.raises(OperationError, match="the answer is that of another write"):
        rpmb(f"-c write-data -d y {key}", replayed)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("-c read-data", "0 sectors from 0 on: the target has 256"),
        ("-c read-data -o 255 -b 2", "2 sectors from 255 on"),
        ("-c read-data -b 1 -t 2", "--target is between 0 and 1"),
        ("-c write-data -d x", "write-data wants --keyfile"),
        ("-c erase", "--cmd 'erase' is unknown; known: info, program-key"),
        ("-c program-key -k short", "a key has 32 bytes, not 5"),
        ("-c program-key -k x -g y", "not both"),
    ],
)
def test_what_protected_memory_is_not_asked(line: str, why: str) -> None:
    memory = Memory()
    with pytest.raises(UsageError, match=why):
        rpmb(line, memory)
    assert memory.asked == []


def test_a_controller_without_protected_memory_says_so() -> None:
    assert rpmb("-c info", Memory()).lines[2].endswith(": 131072 bytes")
    with pytest.raises(OperationError, match="no replay protected memory"):
        rpmb("-c info", Memory(units=0))
    with pytest.raises(OperationError, match="authentication method 1 is not known"):
        rpmb("-c read-counter", Memory(method=1))


# ---- logs ----


def log(raw: bytes) -> Callable[[NvmeCommand], Completion]:
    """Return a controller that has a log, behind which there are zeroes."""

    def answer(command: NvmeCommand) -> Completion:
        at = command.cdw12 | command.cdw13 << 32
        return Completion(data=raw[at : at + command.data_in].ljust(command.data_in, b"\0"))

    return answer


def test_a_boot_partition_is_kept() -> None:
    content = bytes(range(256)) * 512
    raw = BOOT_PARTITION.build(lid=0x15, bpsz=1, abpid=1) + content
    asked, shown = played("boot-part-log -s 1 -f out", log(raw))
    assert (shown.raw, shown.file) == (content, "out")
    assert shown.json == {"count": 0x15, "abpid": 1, "bpsz": 1}
    assert {(one.cdw10 & 0xFF, one.cdw10 >> 8 & 0x7F) for one in asked} == {(0x15, 1)}
    with pytest.raises(OperationError, match="no boot partitions"):
        played("boot-part-log -f out", log(b""))


def test_media_units_are_listed_with_channels_behind_each() -> None:
    unit = MEDIA_UNIT.build(muid=7, percent_used=3, mucs=2, cio=16)
    raw = MEDIA_UNITS.build(nmu=400, cchans=2) + (unit.ljust(16, b"\0") + b"\1\0\2\0") * 400
    asked, shown = played("media-unit-stat-log -d 5", log(raw))
    assert len(shown.json["mus_list"]) == 400  # of 20 bytes: more than are read first
    assert {one["muid"] for one in shown.json["mus_list"]} == {7}
    assert {one.cdw11 >> 16 for one in asked} == {5}
    assert shown.raw == raw
    endless = Completion(data=b"\xff" * 4096)
    with pytest.raises(OperationError, match="at most 1048576 bytes are read"):
        played("media-unit-stat-log", lambda command: endless)


def test_capacity_configurations_are_listed() -> None:
    channel = CHANNEL_CONFIGURATION.build(chanid=4, chmus=1)
    channel += MEDIA_UNIT_CONFIGURATION.build(muid=9, mudl=8)
    group = ENDURANCE_GROUP_CONFIGURATION.build(endgid=1, tegcap=1 << 70)
    group += struct.pack("<HHHH", 2, 11, 12, 1) + channel
    raw = CAPACITY_CONFIGURATIONS.build(sccn=1)
    raw += CAPACITY_CONFIGURATION.build(cap_config_id=3, egcn=1) + group
    _, shown = played("supported-cap-config-log", log(raw))
    (one,) = shown.json["Capacity Descriptor"]
    (told,) = one["Endurance Descriptor"]
    assert (one["cap_config_id"], told["endgid"], told["tegcap"]) == (3, 1, 1 << 70)
    assert told["NVM Set IDs"] == [{"nvmsetid": 11}, {"nvmsetid": 12}]
    assert told["Channel Descriptor"][0]["Media Descriptor"] == [{"chanid": 9, "chmus": 8}]
    assert shown.raw == raw


# ---- properties ----


def test_one_property_is_shown_and_one_is_set() -> None:
    def answer(question: Any) -> Any:
        asked.append(question)
        return {0x14: 0x460001, 0x1C: 1}

    asked: list[Any] = []
    shown = asked_all("get-property -o 0x14 -H", answer)
    assert shown.lines[0] == "property: 0x14 (Controller Configuration), value: 460001"
    assert shown.json == {"cc": 0x460001}
    assert any(line.startswith("\ten") for line in shown.lines)
    with pytest.raises(UsageError, match="0x20 is unknown; known: 0x14, 0x1c"):
        asked_all("get-property -o 0x20", answer)
    assert asked == [Properties()] * 2
    with pytest.raises(OperationError, match="the driver alone sets properties"):
        asked_all("set-property -o 0x14 -v 0", answer)
    assert asked == [Properties()] * 2
    asked_all("set-property -o 0x20 -v 0x4e564d65", answer)
    assert asked[2:] == [SubsystemReset()]


# ---- blocks ----


def zoned(command: NvmeCommand) -> Completion:
    if command.opcode == AdminOpcode.IDENTIFY:
        formats = LBA_FORMAT_EXTENSION.build() + LBA_FORMAT_EXTENSION.build(zsze=64, zdes=2)
        return Completion(data=IDENTIFY_ZONED_NAMESPACE.build(lbafes=formats.ljust(1024, b"\0")))
    return Completion(dw0=0x00000005)


def test_what_is_appended_to_a_zone_is_found(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(8192))
    line = f"zns-zone-append -s 0xFFFFFFF0 -z 8192 -d {tmp_path}/data -f -p 4"
    asked, shown = played(line, zoned)
    command = asked[-1]
    assert command.opcode == Opcode.ZONE_APPEND
    assert (command.cdw10, command.cdw12) == (0xFFFFFFF0, 1 | 1 << 30 | 4 << 26)
    assert len(command.data_out) == 8192
    assert shown.lines == ("Success appended data to LBA 100000005",)
    with pytest.raises(UsageError, match="--data-size is 1 to 65536 times 4096"):
        played(line.replace("8192", "8191"), zoned)


def test_tuples_that_a_disk_makes_are_no_part_of_what_is_appended(tmp_path: Path) -> None:
    """Spec: NVM Command Set 1.0b 5.2.2.1: PRACT, and metadata that are no more than a tuple."""
    (tmp_path / "data").write_bytes(bytes(1040))

    def appended(line: str, ms: int, dps: int) -> NvmeCommand:
        row = LBA_FORMAT.build(lbads=9, ms=ms)
        namespace = IDENTIFY_NAMESPACE.build(flbas=1 << 4, dps=dps, lbafs=row)
        line = f"zns-zone-append -s 0 -d {tmp_path}/data {line}"
        command = played(line, zoned, namespace=lambda nsid: namespace)[0][-1]
        assert isinstance(command, NvmeCommand)
        return command

    assert appended("-z 1024 -p 8", 8, 1).cdw12 & 0xFFFF == 1
    assert appended("-z 1040 -p 7", 8, 1).cdw12 & 0xFFFF == 1
    assert appended("-z 1040 -p 8", 8, 0).cdw12 & 0xFFFF == 1
    assert appended("-z 528 -p 8", 16, 1).cdw12 & 0xFFFF == 0
    with pytest.raises(UsageError, match="--data-size is 1 to 65536 times 512"):
        appended("-z 1040 -p 8", 8, 1)


def test_a_zone_s_descriptor_extension_has_its_whole_length(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(128))
    line = f"zns-set-zone-desc -s 64 -r -d {tmp_path}/data"
    asked, _ = played(line, zoned)
    assert (asked[-1].cdw13, asked[-1].cdw10, len(asked[-1].data_out)) == (0x210, 64, 128)
    (tmp_path / "data").write_bytes(bytes(64))
    with pytest.raises(OperationError, match="has 64 bytes, 128 are to be sent"):
        played(line, zoned)


@pytest.mark.parametrize(
    ("line", "opcode", "fields"),
    [
        ("zns-zrwa-flush-zone -l 9", Opcode.ZONE_MANAGEMENT_SEND, {"cdw10": 9, "cdw13": 0x11}),
        ("zns-zone-mgmt-send -z 4 -a", Opcode.ZONE_MANAGEMENT_SEND, {"cdw13": 0x104}),
        ("zns-zone-mgmt-send -z 3 -o -s 7", Opcode.ZONE_MANAGEMENT_SEND, {"cdw13": 0x203}),
        (
            "zns-zone-mgmt-recv -z 1 -S 2 -p -l 128",
            Opcode.ZONE_MANAGEMENT_RECEIVE,
            {"cdw12": 31, "cdw13": 0x10201, "data_in": 128},
        ),
        ("io-mgmt-recv -s 2 -m 1 -l 64", 0x12, {"cdw10": 0x20001, "cdw11": 15, "data_in": 64}),
        ("io-mgmt-send -n 3 -s 2 -m 1", 0x1D, {"nsid": 3, "cdw10": 0x20001}),
        ("id-ns-lba-format -i 3", AdminOpcode.IDENTIFY, {"cdw10": 9, "cdw11": 3, "nsid": 0}),
        ("nvm-id-ns-lba-format -i 3 -U 1", AdminOpcode.IDENTIFY, {"cdw10": 10, "cdw14": 1}),
    ],
)
def test_a_verb_sends_its_command(line: str, opcode: int, fields: dict[str, Any]) -> None:
    asked, _ = played(line, lambda command: Completion(data=bytes(max(command.data_in, 4096))))
    command = asked[-1]
    assert command.opcode == opcode
    assert {name: getattr(command, name) for name in fields} == fields


def test_where_data_is_placed_may_be_asked_of_what_is_served() -> None:
    (received,), _ = played(
        "io-mgmt-recv -m 1 -l 64", lambda command: Completion(data=bytes(command.data_in))
    )
    (sent,), _ = played("io-mgmt-send -m 1")
    assert harmless(received)
    assert danger(sent, None)
    assert not danger(received, None)
