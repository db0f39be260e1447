"""What a controller and its namespaces are. Spec: NVMe Base 2.0c 5.17."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from scsi2nvme.drivers.nvme import admin
from scsi2nvme.drivers.nvme.admin import (
    CNS_ACTIVE_LIST,
    CNS_COMMAND_SET_CONTROLLER,
    CNS_COMMAND_SET_NAMESPACE,
    CNS_CONTROLLER,
    CNS_DESCRIPTORS,
    CNS_NAMESPACE,
)
from scsi2nvme.drivers.nvme.errors import StatusError, UnsupportedControllerError
from scsi2nvme.drivers.nvme.quirks import Quirk
from scsi2nvme.drivers.nvme.zoned import UnusableZonesError, read_zones
from scsi2nvme.fields import Values
from scsi2nvme.nvme.ana import (
    ACCESSIBLE,
    ANA_LOG,
    GROUPS_ONLY,
    AnaState,
    group_states,
    has_ana,
    log_bytes,
)
from scsi2nvme.nvme.command import BROADCAST_NSID, Completion, NvmeCommand
from scsi2nvme.nvme.log_page import get_log_page
from scsi2nvme.nvme.namespace import MPSMIN_UNIT, NamespaceFacts, Zones, format_count, format_index
from scsi2nvme.nvme.protection import TUPLE_BYTES, TYPES
from scsi2nvme.nvme.status import describe
from scsi2nvme.nvme.structures import (
    EXTENDED_LBA_FORMAT,
    IDENTIFY_BYTES,
    IDENTIFY_CONTROLLER,
    IDENTIFY_NAMESPACE,
    IDENTIFY_NVM_CONTROLLER,
    IDENTIFY_NVM_NAMESPACE,
    LBA_FORMAT,
    SMART_LOG,
)
from scsi2nvme.nvme.zoned import ZONED_COMMAND_SET
from scsi2nvme.records import dataclass

_log = logging.getLogger(__name__)

# Of the driver: the least of MDTS and this is what a command may carry.
MAXIMUM_TRANSFER_BYTES = 2 << 20

_VERSION_1_1, _VERSION_1_3 = 0x010100, 0x010300
_NSIDS_PER_LIST = IDENTIFY_BYTES // 4
_MAXIMUM_NAMESPACES = 16384  # as many as there are LUNs; lists that do not end stop here
_MAXIMUM_SCAN = 1024  # NSIDs tried one by one where there is no list
_WRITE_ZEROES = 1 << 3  # ONCS
_FUSED_COMMANDS = 2
MEDIUM_READ_ONLY = 1 << 3  # SMART critical warning
_WITHOUT_IO = {2: "a discovery controller", 3: "an administrative controller"}
_SQES, _CQES = 6, 4  # powers of two

_COMMAND_SETS = {1: "a key value namespace"}  # CSI, but for those that we know
_LBADS = range(9, 17)
_DPS_TYPE = 7
_EXTENDED_FORMATS = 1 << 15  # CTRATT: ELBAS
_MOST_BYTES = 1 << 63  # of a namespace: no host can address more

_NIDT_EUI64, _NIDT_NGUID, _NIDT_UUID, _NIDT_CSI = 1, 2, 3, 4
_NIDT_BYTES = {_NIDT_EUI64: 8, _NIDT_NGUID: 16, _NIDT_UUID: 16, _NIDT_CSI: 1}

Execute = Callable[[NvmeCommand], Awaitable[Completion]]


def disk_name(controller: Values) -> str:
    """Return which disk Identify Controller tells of, for people and for comparison."""
    return f"{controller.text('mn')}, serial number {controller.text('sn')}"


async def _identify(execute: Execute, cns: int, nsid: int = 0) -> bytes:
    command = admin.identify(cns, nsid)
    completion = await execute(command)
    if completion.status:
        raise StatusError(command, completion)
    return completion.data


def _check_controller(controller: Values) -> None:
    """UnsupportedControllerError unless it has I/O queues with entries as we build them.

    Spec: NVMe Base 2.0c 5.17.2.1 (CNTRLTYPE, SQES, CQES).
    """
    if controller.cntrltype in _WITHOUT_IO:
        raise UnsupportedControllerError(
            f"it is {_WITHOUT_IO[controller.cntrltype]}, not one for I/O (CNTRLTYPE)"
        )
    for queue, told, ours in (
        ("submission", controller.sqes, _SQES),
        ("completion", controller.cqes, _CQES),
    ):
        least, most = told & 0xF, told >> 4 or ours  # zero: it is not told
        if not least <= ours <= most:
            wrong = least if least > ours else most
            raise UnsupportedControllerError(
                f"{queue} queue entries of {1 << wrong} bytes, {1 << ours} wanted"
            )


async def identify_controller(execute: Execute, quirks: Quirk, depth: int) -> Values:
    """Return Identify Controller, without what does not work. StatusError if it is refused.

    `depth` is that of I/O queues: a fused pair needs room for two commands.
    """
    data = bytearray(await _identify(execute, CNS_CONTROLLER))
    read = IDENTIFY_CONTROLLER.parse(data)
    _check_controller(read)
    if Quirk.NO_WRITE_ZEROES in quirks:
        IDENTIFY_CONTROLLER.write(data, oncs=read.oncs & ~_WRITE_ZEROES)
    if depth <= _FUSED_COMMANDS:
        IDENTIFY_CONTROLLER.write(data, fuses=0)
    return IDENTIFY_CONTROLLER.parse(data)


def maximum_transfer_bytes(controller: Values) -> int:
    """Return how many bytes a command may carry: the least of MDTS and our own limit."""
    mdts = controller.mdts
    if mdts == 0 or mdts >= 32:
        return MAXIMUM_TRANSFER_BYTES
    return int(min(MPSMIN_UNIT << mdts, MAXIMUM_TRANSFER_BYTES))


async def _nvm_controller(execute: Execute) -> Values:
    """Return the NVM command set's limits, all zero (none) where they are not told."""
    try:
        data = await _identify(execute, CNS_COMMAND_SET_CONTROLLER)
    except StatusError:
        data = bytes(IDENTIFY_BYTES)
    return IDENTIFY_NVM_CONTROLLER.parse(data)


async def _medium_read_only(execute: Execute) -> bool:
    """Whether the controller has placed its media in read only mode; not if it does not tell.

    Spec: NVMe Base 2.0c 5.16.1.3 (critical warning, bit 3).
    """
    command = get_log_page(admin.LogPage.SMART, BROADCAST_NSID, SMART_LOG.size)
    completion = await execute(command)
    if completion.status:
        return False
    return bool(SMART_LOG.parse(completion.data).critical_warning & MEDIUM_READ_ONLY)


async def _ana_states(execute: Execute, controller: Values) -> dict[int, AnaState]:
    """Return the state of each ANA group; none where the controller does not tell.

    StatusError where it does not now: a namespace that it cannot reach would be taken for one that
    is gone. Spec: NVMe Base 2.0c 5.16.1.13.
    """
    if not has_ana(controller):
        return {}
    command = get_log_page(ANA_LOG, BROADCAST_NSID, log_bytes(controller), lsp=GROUPS_ONLY)
    completion = await execute(command)
    if completion.status:
        if not completion.dnr:
            raise StatusError(command, completion)
        _log.warning("ANA states cannot be read: %s", describe(completion.status))
        return {}
    return group_states(completion.data)


async def read_namespaces(
    execute: Execute,
    controller: Values,
    quirks: Quirk,
    known: Mapping[int, NamespaceFacts] = MappingProxyType({}),
) -> dict[int, NamespaceFacts]:
    """Return every active namespace with logical blocks, zoned or not, that we can use, by NSID.

    One whose blocks we cannot transfer is left out, with a warning. Of one that cannot be reached
    now, as its ANA state says, what is `known` holds. StatusError if the controller refuses what
    it must answer.
    """
    limits = await _nvm_controller(execute)
    read_only = await _medium_read_only(execute)
    states = await _ana_states(execute, controller)
    found = {}
    for nsid in await _active(execute, controller):
        before = known.get(nsid)
        if before is not None and _state_of(before, states) not in ACCESSIBLE:
            descriptors = await _descriptors(execute, controller, quirks, nsid)
            if _is_still(before, descriptors):
                found[nsid] = replace(before, ana_state=_state_of(before, states))
                continue
        facts = await _read_namespace(execute, controller, quirks, nsid, limits)
        if facts is not None:
            state = _state_of(facts, states)
            found[nsid] = replace(facts, medium_read_only=read_only, ana_state=state)
    return found


def _state_of(facts: NamespaceFacts, states: Mapping[int, AnaState]) -> AnaState:
    return states.get(facts.namespace.anagrpid, AnaState.OPTIMIZED)


def _is_still(before: NamespaceFacts, descriptors: Descriptors) -> bool:
    """Whether a namespace has the identifiers that it had, as far as any are told."""
    pairs = (
        (descriptors.uuid, before.uuid),
        (descriptors.nguid, before.nguid),
        (descriptors.eui64, before.eui64),
    )
    return all(now in (b"", then) for now, then in pairs)


async def _active(execute: Execute, controller: Values) -> list[int]:
    """Return the active NSIDs, or those worth trying."""
    if controller.ver >= _VERSION_1_1:
        nsids: list[int] = []
        try:
            while True:
                last = nsids[-1] if nsids else 0
                new = list(_list(await _identify(execute, CNS_ACTIVE_LIST, last), last))
                nsids += new
                if len(new) < _NSIDS_PER_LIST:
                    return _possible(nsids, controller)
                if len(nsids) >= _MAXIMUM_NAMESPACES:
                    _log.warning("namespaces after %d are left out: there are too many", nsids[-1])
                    return _possible(nsids, controller)
        except StatusError as error:
            if not error.completion.dnr:
                raise
    return list(range(1, min(controller.nn, _MAXIMUM_SCAN) + 1))


def _possible(nsids: list[int], controller: Values) -> list[int]:
    """Return the NSIDs that there can be. Spec: NVMe Base 2.0c 5.17.2.1 (NN)."""
    possible = [nsid for nsid in nsids if nsid <= controller.nn or not controller.nn]
    if len(possible) < len(nsids):
        above = nsids[len(possible)]
        _log.warning("namespaces from %d on are left out: NN is %d", above, controller.nn)
    return possible


def _list(data: bytes, after: int) -> Iterator[int]:
    """Yield a list's NSIDs while they rise, as they must."""
    for offset in range(0, len(data), 4):
        nsid = int.from_bytes(data[offset : offset + 4], "little")
        if nsid <= after:
            return
        yield nsid
        after = nsid


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Namespace identification descriptors; empty where absent."""

    eui64: bytes = b""
    nguid: bytes = b""
    uuid: bytes = b""
    csi: int = 0


def parse_descriptors(data: bytes) -> Descriptors:
    """Decode a descriptor list up to the first that is malformed."""
    found: dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(data):
        kind, length = data[offset], data[offset + 1]
        value = data[offset + 4 : offset + 4 + length]
        if _NIDT_BYTES.get(kind, length) != len(value) or length == 0:
            break
        if any(value) or kind == _NIDT_CSI:
            found.setdefault(kind, value)
        offset += 4 + length
    return Descriptors(
        found.get(_NIDT_EUI64, b""),
        found.get(_NIDT_NGUID, b""),
        found.get(_NIDT_UUID, b""),
        found.get(_NIDT_CSI, b"\0")[0],
    )


async def _descriptors(
    execute: Execute, controller: Values, quirks: Quirk, nsid: int
) -> Descriptors:
    if controller.ver < _VERSION_1_3 or Quirk.NO_DESCRIPTORS in quirks:
        return Descriptors()
    try:
        return parse_descriptors(await _identify(execute, CNS_DESCRIPTORS, nsid))
    except StatusError:
        return Descriptors()  # they only add to what Identify Namespace has


def _unusable(controller: Values, namespace: Values) -> str:
    """Return why this driver cannot transfer a namespace's blocks, "" if it can."""
    if namespace.ncap == 0:
        return "it has no capacity"
    index = format_index(namespace)
    if index >= format_count(namespace):
        return f"its LBA format {index} does not exist"
    lba_format = LBA_FORMAT.parse(namespace.bytes("lbafs")[LBA_FORMAT.size * index :])
    if lba_format.lbads not in _LBADS:
        return f"its blocks have 2^{lba_format.lbads} bytes"
    if 1 << lba_format.lbads > maximum_transfer_bytes(controller):
        return f"a command carries less than one of its blocks (MDTS {controller.mdts})"
    if not namespace.nsze:
        return "it has no blocks (NSZE is 0)"
    if namespace.nsze << lba_format.lbads > _MOST_BYTES:
        return f"it has more than 2^63 bytes (NSZE {namespace.nsze:#x})"
    return _unusable_metadata(namespace.dps & _DPS_TYPE, lba_format.ms)


def _unusable_metadata(protection_type: int, metadata_bytes: int) -> str:
    """Return why blocks with such metadata cannot be moved without it, "" if they can."""
    if protection_type not in (0, *TYPES):
        return f"its protection information is of type {protection_type}"
    if metadata_bytes == (TUPLE_BYTES if protection_type else 0):
        return ""
    kind = "metadata, with protection information" if protection_type else "metadata"
    return f"its blocks have {metadata_bytes} bytes of {kind} each"


async def _unusable_tags(execute: Execute, controller: Values, namespace: Values, nsid: int) -> str:
    """Return why protection information of a format cannot be used, "" if it can.

    Spec: NVM Command Set 1.0c 4.1.5 (PIF, STS).
    """
    if not namespace.dps & _DPS_TYPE or not controller.ctratt & _EXTENDED_FORMATS:
        return ""
    try:
        data = await _identify(execute, CNS_COMMAND_SET_NAMESPACE, nsid)
    except StatusError:
        return ""
    formats = IDENTIFY_NVM_NAMESPACE.parse(data).bytes("elbafs")
    size = EXTENDED_LBA_FORMAT.size
    extended = EXTENDED_LBA_FORMAT.parse(formats[size * format_index(namespace) :])
    if extended.sts or extended.pif:
        return "its protection information has storage tags, or guards of more than 16 bits"
    return ""


def _consistent(nsid: int, namespace: Values) -> Values:
    """Return a namespace's data with sizes that agree: NSZE is what blocks are read by.

    Spec: NVM Command Set 1.0c figure 97 (NUSE <= NCAP <= NSZE).
    """
    ncap = min(namespace.ncap, namespace.nsze)
    nuse = min(namespace.nuse, ncap)
    if (ncap, nuse) == (namespace.ncap, namespace.nuse):
        return namespace
    if ncap < namespace.ncap:
        _log.warning("namespace %d: its capacity is more than its size (NCAP, NSZE)", nsid)
    raw = bytearray(namespace.raw)
    IDENTIFY_NAMESPACE.write(raw, ncap=ncap, nuse=nuse)
    return IDENTIFY_NAMESPACE.parse(raw)


def _leave_out(nsid: int, why: str) -> None:
    _log.warning("namespace %d is left out: %s", nsid, why)


async def _read_namespace(
    execute: Execute, controller: Values, quirks: Quirk, nsid: int, limits: Values
) -> NamespaceFacts | None:
    """Return a namespace's facts, None if it is none of ours, which is logged."""
    descriptors = await _descriptors(execute, controller, quirks, nsid)
    if descriptors.csi not in (0, ZONED_COMMAND_SET):
        kind = _COMMAND_SETS.get(descriptors.csi, "of another command set")
        _leave_out(nsid, f"it is {kind}")
        return None
    try:
        namespace = IDENTIFY_NAMESPACE.parse(await _identify(execute, CNS_NAMESPACE, nsid))
    except StatusError as error:
        if error.completion.dnr:
            return None
        raise
    if not any(namespace.raw):
        return None  # inactive: NSIDs may have been tried one by one
    unusable = _unusable(controller, namespace)
    unusable = unusable or await _unusable_tags(execute, controller, namespace, nsid)
    if unusable:
        _leave_out(nsid, unusable)
        return None
    zones = None
    if descriptors.csi == ZONED_COMMAND_SET:
        zones = await _zones(execute, nsid, namespace)
        if zones is None:
            return None
    facts = _facts(controller, quirks, nsid, namespace, descriptors)
    return replace(facts, nvm_controller=limits, zones=zones)


async def _zones(execute: Execute, nsid: int, namespace: Values) -> Zones | None:
    """Return how a zoned namespace is divided, None if it is of no use, which is logged."""
    try:
        return await read_zones(execute, nsid, namespace)
    except StatusError as error:
        if not error.completion.dnr:
            raise
        _leave_out(nsid, f"its zones cannot be read: {error}")
    except UnusableZonesError as error:
        _leave_out(nsid, str(error))
    return None


def _facts(
    controller: Values, quirks: Quirk, nsid: int, namespace: Values, descriptors: Descriptors
) -> NamespaceFacts:
    namespace = _consistent(nsid, namespace)
    if Quirk.BOGUS_IDENTIFIERS in quirks:
        raw = bytearray(namespace.raw)
        IDENTIFY_NAMESPACE.write(raw, nguid=0, eui64=0)
        namespace, descriptors = IDENTIFY_NAMESPACE.parse(raw), Descriptors()

    def given(name: str) -> bytes:
        value = namespace.bytes(name)
        return value if any(value) else b""

    return NamespaceFacts(
        nsid,
        controller,
        namespace,
        maximum_transfer_bytes(controller),
        uuid=descriptors.uuid,
        nguid=descriptors.nguid or given("nguid"),
        eui64=descriptors.eui64 or given("eui64"),
    )


def same_namespace(one: NamespaceFacts, other: NamespaceFacts) -> bool:
    """Whether two readings differ in nothing but NUSE, which changes all the time.

    Of the controller, its firmware revision counts.
    """

    def essence(facts: NamespaceFacts) -> tuple[object, ...]:
        raw = bytearray(facts.namespace.raw)
        IDENTIFY_NAMESPACE.write(raw, nuse=0)
        names = facts.uuid, facts.nguid, facts.eui64
        limits = facts.maximum_transfer_bytes, facts.medium_read_only, facts.ana_state
        told = facts.zones, facts.streams
        return bytes(raw), *names, facts.controller.bytes("fr"), *limits, *told

    return essence(one) == essence(other)


def displaced(
    old: Mapping[int, NamespaceFacts], new: Mapping[int, NamespaceFacts], *, blocks: bool
) -> frozenset[int]:
    """Return the NSIDs of namespaces that went, or whose number another has now.

    With `blocks` also of those whose blocks are not laid out as they were, or that, without
    anything that tells them from others, have another size.
    """

    def is_other(was: NamespaceFacts, now: NamespaceFacts) -> bool:
        return was.identifiers != now.identifiers or (blocks and _layout(was) != _layout(now))

    return frozenset(
        nsid for nsid, was in old.items() if nsid not in new or is_other(was, new[nsid])
    )


def _layout(facts: NamespaceFacts) -> tuple[object, ...]:
    namespace, size = facts.namespace, 0 if any(facts.identifiers) else facts.namespace.nsze
    return facts.lba_format.raw, namespace.flbas, namespace.dps, facts.zones, size


def differing(
    old: Mapping[int, NamespaceFacts], new: Mapping[int, NamespaceFacts]
) -> frozenset[int]:
    """Return the NSIDs of the namespaces that came, went or changed."""
    return frozenset(
        nsid
        for nsid in old.keys() | new.keys()
        if nsid not in old or nsid not in new or not same_namespace(old[nsid], new[nsid])
    )
