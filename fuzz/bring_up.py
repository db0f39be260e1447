"""A controller that tells anything of itself is refused in one line, or served, and then sane."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import strategies as st

from scsi2nvme import commands, engine
from scsi2nvme.cli import inspection
from scsi2nvme.cli.naming import disk_name
from scsi2nvme.commands.inquiry import STANDARD_DATA
from scsi2nvme.commands.log_pages import PAGES as LOG_PAGES
from scsi2nvme.commands.vpd_pages import PAGES as VPD_PAGES
from scsi2nvme.drivers.nvme.admin import (
    CNS_ACTIVE_LIST,
    CNS_COMMAND_SET_CONTROLLER,
    CNS_CONTROLLER,
    CNS_DESCRIPTORS,
    CNS_NAMESPACE,
    LogPage,
)
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.drivers.nvme.errors import ControllerError
from scsi2nvme.drivers.nvme.timing import Timing
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.executor import play
from scsi2nvme.fields import Structure
from scsi2nvme.fuzz.finding import Finding
from scsi2nvme.fuzz.liar import Liar, Lie, Lies, Reading
from scsi2nvme.fuzz.outcomes import check_result
from scsi2nvme.fuzz.situations import make_nexus
from scsi2nvme.fuzz.strategies import field_values
from scsi2nvme.native.unit_parameters import UnitParameters
from scsi2nvme.nvme.command import AdminOpcode
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.registers import ALL_ONES_64, CAP, Register, encode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import (
    ERROR_LOG_ENTRY,
    IDENTIFY_CONTROLLER,
    IDENTIFY_NAMESPACE,
    IDENTIFY_NVM_CONTROLLER,
    SMART_LOG,
)
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.status import Status
from scsi2nvme.service.names import Claim, Identity, judge
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus

LIMIT_S = 30.0  # for what takes a tenth of a second, and with many time-outs some
_HURRY = 200.0  # how much faster the driver's clock goes
_TIMING = Timing(io_s=2.0, admin_s=60.0, grace_s=0.05, watch_s=0.01)
_LONGEST_LINE, _MOST_LINES = 400, 100
_MOST_MEMORY = 64 << 20  # for DMA
_MOST_COMMANDS = 4000  # of the admin queue
_MOST_BYTES = 1 << 63  # of a medium, for Linux and for file systems


@dataclass(frozen=True, slots=True)
class Told:
    """What a controller tells of itself."""

    name: str


_REGISTERS, _FEATURES, _STATUSES = Told("Registers"), Told("Features"), Told("Admin statuses")
_LIST, _DESCRIPTORS = Told("Active namespace list"), Told("Namespace identification descriptors")
_CHANGED, _EVERYTHING = Told("Changed namespace list"), Told("Everything")
_STRUCTURES: dict[Structure, tuple[str, int]] = {
    IDENTIFY_CONTROLLER: ("identify", CNS_CONTROLLER),
    IDENTIFY_NAMESPACE: ("identify", CNS_NAMESPACE),
    IDENTIFY_NVM_CONTROLLER: ("identify", CNS_COMMAND_SET_CONTROLLER),
    SMART_LOG: ("log", LogPage.SMART),
    ERROR_LOG_ENTRY: ("log", LogPage.ERROR),
}
SUBJECTS = (
    *(Told(structure.name) for structure in _STRUCTURES),
    *(_LIST, _DESCRIPTORS, _CHANGED, _FEATURES, _STATUSES, _REGISTERS, _EVERYTHING),
)


class Hurried:
    """A clock that goes faster than the machine's, so that what is to be waited for is soon."""

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic() * _HURRY

    async def sleep(self, seconds: float) -> None:
        """Let others run for so long."""
        await asyncio.sleep(seconds / _HURRY)


# ---- lies ----


def _patched(*patches: tuple[int, bytes]) -> Lie:
    def lie(true: bytes) -> bytes:
        told = bytearray(true)
        for offset, value in patches:
            fits = value[: max(0, len(told) - offset)]
            told[offset : offset + len(fits)] = fits
        return bytes(told)

    return lie


@st.composite
def _bytes(draw: st.DrawFn, size: int) -> Lie:
    """Return a lie that changes bytes, or at times all of them."""
    if draw(st.integers(0, 15)) == 15:
        whole = bytes([draw(st.sampled_from((0x00, 0xFF, 0x20, 0x0A)))]) * size
        return _patched((0, whole))
    places = st.tuples(st.integers(0, size - 1), st.binary(min_size=1, max_size=8))
    return _patched(*draw(st.lists(places, max_size=6)))


@st.composite
def _fields(draw: st.DrawFn, structure: Structure) -> Lie:
    """Return a lie that changes fields, each as it likes to."""
    chosen = draw(st.lists(st.sampled_from(structure.fields), max_size=4, unique=True))
    values = [(each, draw(field_values(each))) for each in chosen]
    noise = draw(st.one_of(st.just(_patched()), _bytes(structure.size)))

    def lie(true: bytes) -> bytes:
        told = bytearray(noise(true))
        for each, value in values:
            each.write(told, value, structure.order)
        return bytes(told)

    return lie


@st.composite
def _nsids(draw: st.DrawFn) -> Lie:
    """Return a lie about which namespaces there are."""
    if draw(st.booleans()):
        first = draw(st.sampled_from((1, 2, 3, 0xFFFFFC00)))
        return _patched((0, b"".join(n.to_bytes(4, "little") for n in range(first, first + 1024))))
    some = st.one_of(
        st.integers(0, 5), st.sampled_from((0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)), st.integers(0)
    )
    listed = draw(st.lists(some, max_size=8))
    if draw(st.booleans()):
        listed.sort()
    return _patched((0, b"".join((n & 0xFFFFFFFF).to_bytes(4, "little") for n in listed)))


@st.composite
def _descriptors(draw: st.DrawFn) -> Lie:
    data = b""
    for _ in range(draw(st.integers(0, 5))):
        kind, length = draw(st.integers(0, 6)), draw(st.sampled_from((0, 1, 8, 16, 17, 255)))
        data += bytes([kind, length, 0, 0]) + draw(st.binary(max_size=20))
    return _patched((0, data))


@st.composite
def _readings(draw: st.DrawFn) -> tuple[Reading, ...]:
    """Return registers that change while they are looked at."""
    readings = []
    for _ in range(draw(st.integers(1, 3))):
        offset = draw(st.sampled_from((Register.CAP, Register.CSTS, Register.CSTS, Register.CC)))
        after = draw(st.one_of(st.integers(0, 12), st.just(40)))
        ones = ALL_ONES_64 if offset == Register.CAP else 0xFFFFFFFF
        value = draw(st.one_of(st.none(), st.sampled_from((0, 1, 2, 3, 8, ones))))
        flipped = draw(st.integers(0, ones)) if value is None else 0
        readings.append(Reading(offset, after, value, flipped))
    return tuple(readings)


@st.composite
def _capabilities(draw: st.DrawFn) -> tuple[Reading, ...]:
    values = {
        each.name: draw(field_values(each)) for each in CAP.fields if draw(st.integers(0, 2)) == 2
    }
    values.setdefault("to", draw(st.integers(0, 255)))
    told = {"mqes": 63, "css": 1} | values
    return (Reading(Register.CAP, 0, encode(CAP, **told)),)


_LIST_LIES: dict[Told, tuple[str, int, st.SearchStrategy[Lie]]] = {
    _LIST: ("identify", CNS_ACTIVE_LIST, _nsids()),
    _DESCRIPTORS: ("identify", CNS_DESCRIPTORS, st.one_of(_descriptors(), _bytes(96))),
    _CHANGED: ("log", LogPage.CHANGED_NAMESPACES, _nsids()),
}


def _lies(subject: Told, data: st.DataObject) -> Lies:
    """Return lies about a subject, or about some of all."""
    chosen = {subject}
    if subject == _EVERYTHING:
        chosen = set(data.draw(st.lists(st.sampled_from(SUBJECTS[:-1]), min_size=2, unique=True)))
    told: dict[str, dict[int, Lie]] = {"identify": {}, "log": {}}
    for structure, (kind, number) in _STRUCTURES.items():
        if Told(structure.name) in chosen:
            told[kind][number] = data.draw(_fields(structure))
    for each, (kind, number, strategy) in _LIST_LIES.items():
        if each in chosen:
            told[kind][number] = data.draw(strategy)
    dw0 = st.one_of(st.sampled_from((0, 1, 0xFFFF, 0xFFFFFFFF)), st.integers(0, 0xFFFFFFFF))
    opcodes = st.sampled_from([int(opcode) for opcode in AdminOpcode])
    failing = [code for code in StatusCode if code]
    statuses = st.dictionaries(opcodes, st.sampled_from(failing), max_size=3)
    return Lies(
        told["identify"],
        told["log"],
        data.draw(dw0) if _FEATURES in chosen else None,
        data.draw(st.one_of(_readings(), _capabilities())) if _REGISTERS in chosen else (),
        data.draw(statuses) if _STATUSES in chosen else {},
    )


# ---- what must hold ----


class _Listening(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextlib.contextmanager
def listening() -> Iterator[list[logging.LogRecord]]:
    """Keep what is logged from people; return it."""
    logger, handler = logging.getLogger("scsi2nvme"), _Listening()
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield handler.records
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates


def bring_up_is_safe(subject: Told, data: st.DataObject) -> None:
    """It ends in bounded time: in a refusal, or in logical units that initiators can live with."""
    lies = _lies(subject, data)
    reads = data.draw(st.integers(0, (1 << 64) - 1))
    transport = Liar(lies)
    with listening() as records:
        try:
            asyncio.run(asyncio.wait_for(_story(subject, transport, reads), LIMIT_S))
        except (ControllerError, TransportError) as error:
            _check_line(subject, str(error))
        except TimeoutError:
            raise Finding(subject, "", f"no end after {LIMIT_S:g} s") from None
    if transport.commands > _MOST_COMMANDS or transport.allocated > _MOST_MEMORY:
        spent = f"{transport.commands} admin commands, {transport.allocated} bytes of DMA memory"
        raise Finding(subject, "", spent)
    if len(records) > _MOST_LINES:
        raise Finding(subject, "", f"{len(records)} lines are logged: {records[-1].getMessage()}")
    for record in records:
        if record.exc_info:
            raise Finding(subject, "", f"logged: {record.exc_info[1]!r}")
        _check_line(subject, record.getMessage())


def _check_line(subject: Told, line: str) -> None:
    if not line.isprintable() or not line or len(line) > _LONGEST_LINE:
        raise Finding(subject, "", f"this is not a line for people: {line!r}")


async def _story(subject: Told, transport: Liar, reads: int) -> None:
    controller = await Controller.open(
        transport,
        io_queues=1,
        depth=32,
        pool_bytes=1 << 16,
        host_memory_bytes=1 << 20,
        timing=_TIMING,
        clock=Hurried(),
    )
    try:
        _describe(subject, controller)
        for facts in list(controller.namespaces.values())[:3]:
            await _use(subject, facts, controller, reads)
        await controller.rescan()
        await controller.commands.smart_log()
        await controller.commands.error_log()
    finally:
        await controller.close()


def _describe(subject: Told, controller: Controller) -> None:
    """Tell people and the daemon what a controller says of itself."""
    name = disk_name(controller.identity)
    if not name or not name.isascii() or not name.isprintable():
        raise Finding(subject, "", f"the disk is called {name!r}")
    facts = controller.namespaces.values()
    shown = inspection.devices((0, controller.name, each) for each in facts)
    for row in shown["Devices"]:
        _check_line(subject, inspection.text(row).replace("\n", " "))
    inspection.text(inspection.id_ctrl(controller.identity.raw))
    judge([Claim(f"namespace {each.nsid}", Identity.of(each)) for each in facts], lambda line: None)


async def _use(subject: Told, facts: NamespaceFacts, controller: Controller, reads: int) -> None:
    lu = LogicalUnit(facts)
    nexus = make_nexus("a", lu)
    size = lu.block_bytes
    if size not in (1 << shift for shift in range(9, 17)) or not lu.capacity_blocks >= 1:
        raise Finding(subject, "", f"{lu.capacity_blocks} blocks of {size} bytes")
    if lu.capacity_blocks * size > _MOST_BYTES:
        raise Finding(subject, "nsze", f"{lu.capacity_blocks} blocks of {size} bytes")
    if not 1 <= lu.nvme_maximum_blocks <= 65536:
        raise Finding(subject, "mdts", f"commands of {lu.nvme_maximum_blocks} blocks")
    assert UnitParameters.of(lu).native
    for name, fields in _requests(lu, reads):
        result = await _run(controller, nexus, name, fields)
        _check(subject, name, fields, result)
        read = name.startswith("READ (") and result.status is Status.GOOD
        if read and len(result.data_in) != size:
            raise Finding(subject, name, f"{len(result.data_in)} bytes of a block of {size}")


def _requests(lu: LogicalUnit, reads: int) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield what an initiator asks of a disk that it meets."""
    most = {"allocation_length": 0xFFFF}
    yield "TEST UNIT READY", {}
    yield "INQUIRY", most
    for page in VPD_PAGES:
        if page.supported(lu):
            yield "INQUIRY", most | {"evpd": 1, "page_code": page.code}
    yield "READ CAPACITY (10)", {}
    yield "READ CAPACITY (16)", most
    yield "MODE SENSE (10)", most | {"page_code": 0x3F, "subpage_code": 0xFF}
    yield "REPORT SUPPORTED OPERATION CODES", most
    for row in LOG_PAGES:
        if row.supported(lu):
            yield "LOG SENSE", most | {"pc": 1, "page_code": row.code, "subpage_code": row.subpage}
    for lba in (0, lu.capacity_blocks - 1, reads % lu.capacity_blocks):
        yield "READ (16)", {"lba": lba, "transfer_length": 1}
    yield "GET LBA STATUS (16)", most | {"starting_lba": reads % lu.capacity_blocks}


async def _run(controller: Controller, nexus: Nexus, name: str, fields: dict[str, int]) -> Result:
    row = next(each for each in commands.COMMANDS if each.name == name)
    known = {key: value for key, value in fields.items() if key in row.structure.by_name}
    return await play(engine.run(engine.select(nexus, 0, row.build(**known)), b""), controller)


def _check(subject: Told, name: str, fields: dict[str, int], result: Result) -> None:
    check_result(None, result)
    if result.status not in (Status.GOOD, Status.CHECK_CONDITION):
        raise Finding(subject, name, f"ends with {result.status.name}")
    if name == "INQUIRY" and result.status is not Status.GOOD:
        raise Finding(subject, name, f"{fields} ends with {result}")
    if name == "INQUIRY" and not fields.get("evpd"):
        values = STANDARD_DATA.parse(result.data_in.ljust(STANDARD_DATA.size, b"\0"))
        for each in ("vendor", "product", "revision"):
            if each in STANDARD_DATA.by_name:
                text = values.bytes(each)
                if any(not 0x20 <= byte < 0x7F for byte in text):
                    raise Finding(subject, each, f"is {text!r}")
