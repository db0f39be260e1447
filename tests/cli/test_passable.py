"""Which commands that people write are passed, and what becomes of them before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from scsi2nvme.api.passing import COMMAND, LOOK
from scsi2nvme.api.rpc import RpcError
from scsi2nvme.cli.controllers import with_room
from scsi2nvme.cli.daemon.control import Answers
from scsi2nvme.cli.daemon.passing import Passing
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.drivers.nvme.errors import ControllerError
from scsi2nvme.nvme import features, passing
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.effects import COMMAND_EFFECTS
from scsi2nvme.nvme.namespace import Zones
from scsi2nvme.nvme.structures import LBA_FORMAT
from scsi2nvme.service.beside import TakesLongError
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.readiness import Readiness
from tests.support import make_facts, make_lu

UNMEANT_OPCODE = 0xC1


def admin(opcode: int, **fields: Any) -> NvmeCommand:
    return NvmeCommand(opcode, admin=True, **fields)


@pytest.mark.parametrize(
    "command",
    [
        *(admin(opcode) for opcode in (0x00, 0x01, 0x04, 0x05, 0x08, 0x0C, 0x7C, 0x7F)),
        *(admin(AdminOpcode.SET_FEATURES, cdw10=fid) for fid in (7, 8, 9, 0xB, 0xD, 0x16)),
        admin(AdminOpcode.SET_FEATURES, cdw10=7 | 1 << 31),
        NvmeCommand(0x18, 1),  # Cancel
    ],
)
def test_what_is_the_drivers_own_is_never_passed(command: NvmeCommand) -> None:
    assert "the driver alone" in passing.refusal(command) or "network" in passing.refusal(command)


def test_each_feature_has_one_row() -> None:
    assert len(features.BY_FID) == len(features.ROWS)


def test_who_may_look_may_send_what_only_looks() -> None:
    assert passing.looks(admin(AdminOpcode.IDENTIFY))
    assert passing.looks(admin(AdminOpcode.GET_LOG_PAGE, cdw10=2))
    for lid in (0x07, 0x08, 0x0D, 0x15, 0x19, 0xC0):
        assert not passing.looks(admin(AdminOpcode.GET_LOG_PAGE, cdw10=lid))
    for operation, looks in ((0x001, True), (0x102, True), (0x103, False), (0x201, False)):
        command = admin(AdminOpcode.DIRECTIVE_RECEIVE, cdw11=operation | 7 << 16)
        assert passing.looks(command) is passing.harmless(command) is looks
    assert not passing.looks(NvmeCommand(Opcode.READ, 1))
    assert not passing.looks(admin(AdminOpcode.SET_FEATURES, cdw10=6))


@pytest.mark.parametrize(
    ("command", "effects", "dangerous"),
    [
        (NvmeCommand(Opcode.READ, 1), None, False),
        (NvmeCommand(Opcode.WRITE, 1), None, True),
        (NvmeCommand(Opcode.RESERVATION_RELEASE, 1), None, True),
        (admin(AdminOpcode.DEVICE_SELF_TEST), {"csupp": 1, "cse": 2}, False),
        (admin(AdminOpcode.FORMAT_NVM), {"csupp": 1}, True),
        (admin(AdminOpcode.SANITIZE), {"csupp": 1}, True),
        (admin(AdminOpcode.SET_FEATURES, cdw10=2), {"csupp": 1, "ccc": 1}, False),
        *(
            (admin(AdminOpcode.SET_FEATURES, cdw10=fid), {"csupp": 1}, True)
            for fid in (0x0A, 0x0F, 0x19, 0x1D, 0x77, 0x81, 0x82, 0x83, 0x84, 0x85, 0xC0, 0xFF)
        ),
        *(
            (admin(opcode, cdw10=select), {"csupp": 1, "nic": 1}, select != 0)
            for opcode in (AdminOpcode.NAMESPACE_MANAGEMENT, AdminOpcode.NAMESPACE_ATTACHMENT)
            for select in (0, 1, 2)
        ),
        *((admin(opcode), {"csupp": 1}, True) for opcode in (0x1C, 0x1D, 0x20, 0x24)),
        (admin(UNMEANT_OPCODE), None, True),
        (admin(UNMEANT_OPCODE), {}, True),
        (admin(UNMEANT_OPCODE), {"csupp": 1}, False),
        *(
            (admin(UNMEANT_OPCODE), {"csupp": 1, name: 1}, True)
            for name in ("lbcc", "ncc", "nic", "ccc", "cse")
        ),
        (NvmeCommand(0x99, 1), {"csupp": 1}, False),
        (NvmeCommand(0x99, 1), {"csupp": 1, "lbcc": 1}, True),
    ],
)
def test_what_is_dangerous_while_namespaces_are_served(
    command: NvmeCommand, effects: dict[str, int] | None, dangerous: bool
) -> None:
    told = None if effects is None else COMMAND_EFFECTS.parse(COMMAND_EFFECTS.build(**effects))
    assert bool(passing.danger(command, told)) is dangerous


@pytest.mark.parametrize(
    ("command", "moved"),
    [
        (admin(AdminOpcode.IDENTIFY), 4096),
        (admin(AdminOpcode.GET_FEATURES, cdw10=0xC0), 4096),
        (admin(AdminOpcode.GET_LOG_PAGE, cdw10=2 | 0xFFFF << 16, cdw11=0xABCD0001), 8 << 16),
        (admin(AdminOpcode.SECURITY_RECEIVE, cdw11=77), 77),
        (admin(AdminOpcode.NVME_MI_RECEIVE), 4096),
        (NvmeCommand(0x12, 1, cdw10=1, cdw11=9), 40),
        (admin(AdminOpcode.NAMESPACE_MANAGEMENT), 4096),
        (admin(AdminOpcode.NAMESPACE_MANAGEMENT, cdw10=1), 0),
        (admin(AdminOpcode.NAMESPACE_ATTACHMENT, cdw10=1), 4096),
        (admin(AdminOpcode.SET_FEATURES, cdw10=0xE | 1 << 31), 8),
        (admin(AdminOpcode.SET_FEATURES, cdw10=0x81), 8),
        (admin(AdminOpcode.SET_FEATURES, cdw10=0x81, cdw11=1), 16),
        (admin(AdminOpcode.SET_FEATURES, cdw10=6, cdw11=1), 0),
        (admin(AdminOpcode.SET_FEATURES, cdw10=0xC0), 0),
        (admin(AdminOpcode.SET_FEATURES, cdw10=0x7F), 4096),
        (admin(AdminOpcode.SET_FEATURES, cdw10=0x1E, cdw11=3 << 16 | 7), 3),
        (admin(AdminOpcode.DIRECTIVE_SEND, cdw11=0x101), 0),
        (admin(AdminOpcode.DIRECTIVE_SEND, cdw10=3, cdw11=2 << 8), 16),
        (NvmeCommand(Opcode.COPY, 1, cdw12=1), 64),
        (NvmeCommand(Opcode.COPY, 1, cdw12=1 | 1 << 8), 80),
        (NvmeCommand(Opcode.READ, 1, cdw12=0xFFFF0003), 4 * 512),
        (NvmeCommand(Opcode.ZONE_MANAGEMENT_RECEIVE, 1, cdw12=9), 40),
        (NvmeCommand(0x1D, 1, cdw10=1 | 4 << 16), 10),
        (NvmeCommand(0x1D, 1, cdw10=0), 0),
        (admin(AdminOpcode.NVME_MI_SEND, cdw10=0x804, cdw11=9, cdw13=300), 300),
        (admin(AdminOpcode.NVME_MI_SEND, cdw10=0x804, cdw11=1, cdw13=300), 0),
        (NvmeCommand(Opcode.FLUSH, 1), 0),
        (admin(UNMEANT_OPCODE, cdw10=5), 0),
    ],
)
def test_what_a_command_moves_by_what_it_says(command: NvmeCommand, moved: int) -> None:
    assert passing.moved_bytes(command, make_facts()) == moved
    assert passing.moved_bytes(command, None) == (
        moved if command.admin or command.opcode != Opcode.READ else 0
    )


def test_a_zone_s_descriptor_extension_is_sent_whole() -> None:
    zones = Zones(1024, 1024, extension_bytes=128)
    setting = NvmeCommand(Opcode.ZONE_MANAGEMENT_SEND, 1, cdw13=0x10)
    assert passing.moved_bytes(setting, make_facts(zones=zones)) == 128
    assert passing.moved_bytes(setting, make_facts()) == 0
    reset = NvmeCommand(Opcode.ZONE_MANAGEMENT_SEND, 1, cdw13=4)
    assert passing.moved_bytes(reset, make_facts(zones=zones)) == 0


@pytest.mark.parametrize(
    ("flbas", "metadata", "protected", "cdw12", "moved"),
    [
        (0x10, 8, 1, 1, 2 * 520),
        (0x10, 8, 1, 1 | 1 << 29, 2 * 512),  # the controller takes it off
        (0x10, 8, 0, 1 | 1 << 29, 2 * 520),  # there is none to take off
        (0x10, 64, 1, 1 | 1 << 29, 2 * 576),
        (0x00, 8, 1, 1, 2 * 512),  # they are moved by MPTR
    ],
)
def test_metadata_behind_each_block_have_room(
    flbas: int, metadata: int, protected: int, cdw12: int, moved: int
) -> None:
    lbafs = LBA_FORMAT.build(lbads=9, ms=metadata)
    facts = make_facts(namespace={"flbas": flbas, "lbafs": lbafs, "dps": protected})
    for opcode in (Opcode.READ, Opcode.WRITE, Opcode.COMPARE):
        assert passing.moved_bytes(NvmeCommand(opcode, 1, cdw12=cdw12), facts) == moved


@pytest.mark.parametrize(
    ("flbas", "metadata", "protected", "cdw12", "refused"),
    [
        (0x00, 8, 1, 1, True),
        (0x00, 8, 1, 1 | 1 << 29, False),  # the controller strips it
        (0x00, 8, 0, 1 | 1 << 29, True),
        (0x00, 64, 1, 1 | 1 << 29, True),
        (0x10, 64, 1, 1, False),  # behind each block
        (0x00, 0, 0, 1, False),
    ],
)
def test_metadata_are_not_moved_where_there_is_no_buffer_for_them(
    flbas: int, metadata: int, protected: int, cdw12: int, refused: bool
) -> None:
    """A disk takes them from address 0, or puts them there: nobody's, or the kernel's."""
    lbafs = LBA_FORMAT.build(lbads=9, ms=metadata)
    facts = make_facts(namespace={"flbas": flbas, "lbafs": lbafs, "dps": protected})
    controller: Any = SimpleNamespace(namespaces={1: facts})
    for command in (
        NvmeCommand(Opcode.READ, 1, cdw12=cdw12),
        NvmeCommand(Opcode.WRITE, 1, cdw12=cdw12, data_out=bytes(2 * 576)),
    ):
        with pytest.raises(OperationError, match="PRACT") if refused else nullcontext():
            with_room(controller, command)
    with_room(controller, NvmeCommand(Opcode.VERIFY, 1, cdw12=cdw12))


def test_a_look_is_nothing_but_a_look() -> None:
    """No reset as a short time has passed, and no event that the driver does not hear of."""
    sent: list[NvmeCommand] = []

    async def execute(command: NvmeCommand) -> tuple[Completion]:
        sent.append(command)
        return (Completion(data=bytes(command.data_in)),)

    served: Any = SimpleNamespace(
        controller=SimpleNamespace(execute=execute, namespaces={}), units={}
    )
    unneeded: Any = None
    answers = Answers()
    Passing(unneeded, lambda name: served, unneeded).answer(answers)
    params = {"controller": "0", "opcode": 2, "cdw10": 4, "data_in": 4, "timeout_ms": 1}
    ended = asyncio.run(answers.give(LOOK.name, params, looks_only=True))
    assert len(bytes.fromhex(ended.data)) == 4
    (command,) = sent
    assert command.timeout_s is None
    assert command.cdw10 == 4 | 1 << 15  # RAE


def test_what_does_not_fit_into_a_command_is_told() -> None:
    controller: Any = SimpleNamespace(namespaces={})
    with pytest.raises(OperationError, match="more than 32 bits"):
        with_room(
            controller, admin(AdminOpcode.FIRMWARE_IMAGE_DOWNLOAD, cdw11=1 << 32, data_out=b"0000")
        )


# ---- a format ----


def formatted(
    lu: LogicalUnit,
    rescan: Callable[[], Awaitable[frozenset[int]]],
    report: Callable[..., Awaitable[None]],
    drain: Callable[[object], Awaitable[None]] | None = None,
    **more: Any,
) -> None:
    """Have a daemon force a format of the namespace that a logical unit is."""

    async def execute(command: NvmeCommand) -> tuple[Completion]:
        return (Completion(),)

    async def nothing(units: object) -> None:
        pass

    controller = SimpleNamespace(
        execute=execute,
        rescan=rescan,
        namespaces={lu.nsid: lu.facts},
        identity=SimpleNamespace(lpa=0, fna=0),
    )
    settings = SimpleNamespace(spec=SimpleNamespace(text="emulated:memory"))
    served: Any = SimpleNamespace(controller=controller, units={lu.nsid: lu}, settings=settings)
    service: Any = SimpleNamespace(
        drain_units=drain or nothing,
        refresh=nothing,
        controller_interrupted=lambda: None,
        blocks_may_change=lambda units: None,
    )
    answers = Answers()
    Passing(service, lambda name: served, report).answer(answers)
    which = {"controller": "0", "opcode": 0x80, "nsid": lu.nsid, "force": True, **more}
    asyncio.run(answers.give(COMMAND.name, which, looks_only=False))


def test_a_logical_unit_is_not_ready_until_its_new_format_is_known() -> None:
    """With the old one, a block would have another length than the buffer that it goes to."""
    lu = make_lu()
    found: list[Readiness] = []

    async def rescan() -> frozenset[int]:
        found.append(lu.readiness)
        return frozenset({lu.nsid})

    async def report(*arguments: object) -> None:
        found.append(lu.readiness)

    formatted(lu, rescan, report)
    assert found == [Readiness.FORMATTING] * 2
    assert lu.readiness is Readiness.READY


def test_a_format_that_nobody_can_read_leaves_no_logical_unit() -> None:
    lu = make_lu()

    async def rescan() -> frozenset[int]:
        raise ControllerError("it does not answer")

    async def report(*arguments: object) -> None:
        raise AssertionError("there is nothing to tell")

    with pytest.raises(RpcError, match="it does not answer"):
        formatted(lu, rescan, report)
    assert lu.readiness is Readiness.FORMAT_FAILED


def test_what_was_not_formatted_is_as_before() -> None:
    """Whoever waits for what is under way may be told to stop, or that a namespace has gone."""
    lu = make_lu()
    found: list[Readiness] = []

    async def never(*arguments: object) -> Any:
        raise AssertionError("nothing is sent")

    async def drain(units: object) -> None:
        found.append(lu.readiness)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        formatted(lu, never, never, drain)
    assert (found, lu.readiness) == ([Readiness.FORMATTING], Readiness.READY)


def test_a_namespace_that_goes_during_a_format_stays_gone() -> None:
    lu = make_lu()

    async def rescan() -> frozenset[int]:
        return frozenset({lu.nsid})

    async def report(*arguments: object) -> None:
        lu.fail()

    formatted(lu, rescan, report)
    assert lu.readiness is Readiness.FAILED


@pytest.mark.parametrize("opcode", [Opcode.READ, Opcode.WRITE, Opcode.FLUSH])
def test_blocks_are_not_moved_while_their_length_may_change(opcode: Opcode) -> None:
    """There is room for those of before, whose length is the only one that is known."""
    lu = make_lu()

    @asynccontextmanager
    async def beside(other: LogicalUnit) -> AsyncIterator[None]:
        assert other is lu
        raise TakesLongError("is being formatted")
        yield

    async def never(*arguments: object) -> Any:
        raise AssertionError("nothing is sent")

    controller = SimpleNamespace(
        execute=never, namespaces={lu.nsid: lu.facts}, identity=SimpleNamespace(lpa=0)
    )
    settings = SimpleNamespace(spec=SimpleNamespace(text="emulated:memory"))
    served: Any = SimpleNamespace(controller=controller, units={lu.nsid: lu}, settings=settings)
    unneeded: Any = None
    service: Any = SimpleNamespace(beside=beside)
    answers = Answers()
    Passing(service, lambda name: served, unneeded).answer(answers)
    which = {
        "controller": "0",
        "opcode": int(opcode),
        "admin": False,
        "nsid": lu.nsid,
        "force": True,
    }
    which["data_out"] = "00" * lu.block_bytes if opcode is Opcode.WRITE else ""
    with pytest.raises(RpcError, match="namespace 1 is being formatted; try again"):
        asyncio.run(answers.give(COMMAND.name, which, looks_only=False))


def test_a_format_with_data_is_refused_before_it_begins() -> None:
    lu = make_lu()

    async def never(*arguments: object) -> Any:
        raise AssertionError("nothing is sent")

    with pytest.raises(RpcError, match="it takes no data"):
        formatted(lu, never, never, data_out="00")
    assert lu.readiness is Readiness.READY
