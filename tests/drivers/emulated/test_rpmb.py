"""Replay protected memory of the emulated controller. Spec: NVMe Base 2.0c 8.18."""

from __future__ import annotations

import hmac
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.passing.conversation import Shown, heard
from scsi2nvme.cli.verbs.passing import rows
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand
from scsi2nvme.nvme.rpmb import FRAME, SUPPORT, Message, Result
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER
from tests.cli.played import given
from tests.drivers.emulated.host import Host, admin, identify, on_host, session

KEY = b"\x42" * 32
_RPMB = 0xEA << 24 | 1 << 8


def send(frame: bytes, target: int = 1) -> NvmeCommand:
    return admin(AdminOpcode.SECURITY_SEND, _RPMB | target, len(frame), data_out=frame)


def receive(length: int = 256, target: int = 1) -> NvmeCommand:
    return admin(AdminOpcode.SECURITY_RECEIVE, _RPMB | target, length, data_in=length)


def signed(key: bytes, data: bytes, **fields: int) -> bytes:
    head = FRAME.build(target=1, **fields)
    code = hmac.digest(key, head[223:] + data, "sha256")
    return head[:191] + code + head[223:] + data


async def ended(host: Host, frame: bytes) -> tuple[int, int, int]:
    """Return message, result and write counter of what a write has come to."""
    await host.ok(send(frame))
    await host.ok(send(FRAME.build(target=1, message=Message.READ_RESULT)))
    answer = FRAME.parse(await host.ok(receive()))
    return answer.message, answer.result, answer.counter


@on_host(rpmb=2)
async def test_what_is_written_is_authenticated(host: Host) -> None:
    support = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))
    assert support.oacs & 1
    assert SUPPORT.parse(support.bytes("rpmbs")).units == 2
    data, write = b"\x5a" * 512, {"message": Message.WRITE_DATA, "sectors": 1, "address": 3}
    assert await ended(host, signed(KEY, data, **write)) == (0x300, Result.NO_KEY, 0)
    program = FRAME.build(target=1, message=1, mac=int.from_bytes(KEY, "little"))
    assert await ended(host, program) == (0x100, Result.SUCCESSFUL, 0)
    assert await ended(host, program) == (0x100, Result.GENERAL_FAILURE, 0)
    assert await ended(host, signed(bytes(32), data, **write)) == (0x300, 2, 0)
    assert await ended(host, signed(KEY, data, counter=1, **write)) == (0x300, 3, 0)
    beyond = write | {"address": 256}
    assert await ended(host, signed(KEY, data, **beyond)) == (0x300, 4, 0)
    assert await ended(host, signed(KEY, data, **write)) == (0x300, 0, 1)
    assert await ended(host, signed(KEY, data, **write)) == (0x300, 3, 1)  # replayed
    read = FRAME.build(target=1, message=Message.READ_DATA, address=3, sectors=1, nonce=77)
    await host.ok(send(read))
    answer = await host.ok(receive(768))
    assert (answer[256:], FRAME.parse(answer[:256]).nonce) == (data, 77)
    assert answer[191:223] == hmac.digest(KEY, answer[223:], "sha256")


@on_host(rpmb=1)
async def test_a_target_that_is_not_there(host: Host) -> None:
    frame = FRAME.build(target=1, message=Message.READ_COUNTER)
    for command in (send(frame), send(frame, 0), receive(256, 1), send(frame[:-1])):
        assert (await done(host, command)).status == StatusCode.INVALID_FIELD


@on_host()
async def test_there_is_none_unless_it_is_wanted(host: Host) -> None:
    assert not IDENTIFY_CONTROLLER.parse(await host.ok(identify(1))).rpmbs
    assert (await done(host, receive(256, 0))).status == StatusCode.INVALID_OPCODE


async def done(host: Host, command: NvmeCommand) -> Completion:
    ended = await host.execute(command)
    return Completion(ended.status, data=bytes(host.data.slice(0, command.data_in).view()))


async def played(line: str, host: Host) -> Shown:
    """Return what a verb shows that asks the host's controller."""
    (one,) = (each for each in rows() if each.name == "rpmb")
    conversation = heard(one.converse(given(line)), lambda fraction: None)
    told: Any = None
    while True:
        try:
            question = conversation.send(told)
        except StopIteration as ended:
            shown: Shown = ended.value
            return shown
        assert isinstance(question, NvmeCommand)
        told = await done(host, question)


def test_the_verb_writes_and_reads_it(tmp_path: Path) -> None:
    session(partial(_written_and_read, tmp_path), rpmb=1)


async def _written_and_read(tmp_path: Path, host: Host) -> None:
    (tmp_path / "key").write_bytes(KEY)
    (tmp_path / "data").write_bytes(bytes(range(256)) * 22)  # 11 sectors: eight, and three
    key = f"-g {tmp_path}/key"
    with pytest.raises(OperationError, match="no key is programmed"):
        await played("rpmb -c read-counter", host)
    await played(f"rpmb -c program-key {key}", host)
    written = await played(f"rpmb -c write-data -o 9 -f {tmp_path}/data {key}", host)
    assert written.lines == ("11 sectors are written, write counter 2",)
    read = await played(f"rpmb -c read-data -o 9 -b 11 {key}", host)
    assert read.raw == bytes(range(256)) * 22
    await played(f"rpmb -c write-config -d x {key}", host)
    assert (await played(f"rpmb -c read-config {key}", host)).raw == b"x".ljust(512, b"\0")
