"""The emulated controller's Identify data. Spec: NVMe Base 2.0c 5.17."""

from __future__ import annotations

from collections.abc import Callable

from scsi2nvme import __version__
from scsi2nvme.drivers.emulated.image import (
    BLOCK_BYTES,
    NamespaceState,
    namespace_eui64,
    namespace_nguid,
    namespace_uuid,
    subsystem_uuid,
)
from scsi2nvme.drivers.emulated.model import (
    ATOMIC_BLOCKS,
    ERROR_LOG_ENTRIES,
    MDTS,
    CommandFailed,
    Model,
    invalid_field,
)
from scsi2nvme.fields import Values
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import (
    IDENTIFY_BYTES,
    IDENTIFY_CONTROLLER,
    IDENTIFY_INDEPENDENT_NAMESPACE,
    IDENTIFY_NAMESPACE,
    IDENTIFY_NVM_CONTROLLER,
    LBA_FORMAT,
    POWER_STATE,
)

VERSION = 0x00020000
ASYNC_EVENT_REQUESTS = 4
ABORTS = 4
POWER_STATES = 2
WARNING_TEMPERATURE_K = 343
CRITICAL_TEMPERATURE_K = 353
EXTENDED_TEST_MINUTES = 1
FIRMWARE = f"{__version__:<8}"[:8].encode()

_OUI = 0x525400
_PHYSICAL_BYTES = 4096  # the page cache's unit, and most disks'


def _power_states() -> bytes:
    active = POWER_STATE.build(mp=500, aps=2, actp=400)
    idle = POWER_STATE.build(mp=50, nops=1, enlat=2000, exlat=5000, rrt=1, rrl=1, rwt=1, rwl=1)
    return active + idle


def controller(model: Model) -> bytes:
    """Return CNS 01h."""
    serial = model.state.serial
    return IDENTIFY_CONTROLLER.build(
        sn=f"{serial:<20}".encode(),
        mn=f"{'scsi2nvme emulated controller':<40}".encode(),
        fr=FIRMWARE,
        rab=6,
        ieee=_OUI,
        mdts=MDTS,
        ver=VERSION,
        rtd3r=1_000_000,
        rtd3e=10_000_000,
        oaes=1 << 8,  # namespace attribute notices
        ctratt=1,  # 128-bit host identifier
        cntrltype=1,
        oacs=1 << 1 | 1 << 4,  # Format NVM, Device Self-test
        acl=ABORTS - 1,
        aerl=ASYNC_EVENT_REQUESTS - 1,
        frmw=1 | 1 << 1,  # one slot, read only
        lpa=1 << 1 | 1 << 2,  # effects log; offsets
        elpe=ERROR_LOG_ENTRIES - 1,
        npss=POWER_STATES - 1,
        wctemp=WARNING_TEMPERATURE_K,
        cctemp=CRITICAL_TEMPERATURE_K,
        tnvmcap=model.image.namespace_bytes * len(model.state.namespaces),
        edstt=EXTENDED_TEST_MINUTES,
        dsto=1,
        sqes=0x66,
        cqes=0x44,
        nn=len(model.state.namespaces),
        # Compare, Dataset Management, Write Zeroes, save and select, Timestamp, Verify
        oncs=1 << 0 | model.thin << 2 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7,
        fuses=1,
        vwc=1 | 3 << 1,  # present; Flush takes the broadcast NSID
        awun=ATOMIC_BLOCKS - 1,
        awupf=0,
        nwpc=1 | 1 << 1,  # write protect; write protect until power cycle
        acwu=ATOMIC_BLOCKS - 1,
        subnqn=f"nqn.2014-08.org.nvmexpress:uuid:{subsystem_uuid(serial)}".encode(),
        psds=_power_states(),
    )


def _progress(model: Model, state: NamespaceState) -> int:
    """Return FPI: what remains to be formatted, in percent, and that this is told."""
    return 1 << 7 | model.remaining.get(state.nsid, 0)


def namespace(model: Model, state: NamespaceState) -> bytes:
    """Return CNS 00h of a namespace."""
    blocks = model.blocks(state)
    serial = model.state.serial
    physical = _PHYSICAL_BYTES // state.block_bytes - 1
    formats = b"".join(
        LBA_FORMAT.build(lbads=size.bit_length() - 1, rp=0 if size == _PHYSICAL_BYTES else 2)
        for size in BLOCK_BYTES
    )
    return IDENTIFY_NAMESPACE.build(
        nsze=blocks,
        ncap=blocks,
        nuse=blocks,
        nsfeat=1 << 1 | 1 << 4,  # NAWUPF and NPWG to NOWS are valid
        nlbaf=len(BLOCK_BYTES) - 1,
        flbas=BLOCK_BYTES.index(state.block_bytes),
        fpi=_progress(model, state),
        dlfeat=model.thin * (1 | 1 << 3),  # reads zeroes; Write Zeroes may deallocate
        nvmcap=model.image.namespace_bytes,
        # The page cache writes whole pages, and disks whole physical blocks.
        nawupf=physical,
        npwg=physical,
        npwa=physical,
        npdg=physical,
        npda=physical,
        nows=physical,
        nsattr=int(state.write_protect != 0),
        nguid=namespace_nguid(serial, state.nsid),
        eui64=namespace_eui64(serial, state.nsid),
        lbafs=formats,
    )


def _descriptor(kind: int, value: bytes) -> bytes:
    return bytes([kind, len(value), 0, 0]) + value


def _namespace_of(model: Model, command: Values) -> bytes:
    return namespace(model, model.namespace(command.nsid))


def _controller(model: Model, command: Values) -> bytes:
    return controller(model)


def _active_list(model: Model, command: Values) -> bytes:
    if command.nsid >= 0xFFFFFFFE:
        raise CommandFailed(StatusCode.INVALID_NAMESPACE, 4)
    nsids = [state.nsid for state in model.state.namespaces if state.nsid > command.nsid]
    return b"".join(nsid.to_bytes(4, "little") for nsid in nsids[: IDENTIFY_BYTES // 4])


def _descriptors(model: Model, command: Values) -> bytes:
    nsid = model.namespace(command.nsid).nsid
    serial = model.state.serial
    return (
        _descriptor(1, namespace_eui64(serial, nsid))
        + _descriptor(2, namespace_nguid(serial, nsid))
        + _descriptor(3, namespace_uuid(serial, nsid))
        + _descriptor(4, b"\0")
    )


def _nvm_namespace(model: Model, command: Values) -> bytes:
    model.namespace(command.nsid)
    return b""  # no storage tags, no protection information


def _nvm_controller(model: Model, command: Values) -> bytes:
    return IDENTIFY_NVM_CONTROLLER.build()  # no limit but MDTS


def _independent_namespace(model: Model, command: Values) -> bytes:
    state = model.namespace(command.nsid)
    return IDENTIFY_INDEPENDENT_NAMESPACE.build(
        fpi=_progress(model, state), nsattr=int(state.write_protect != 0), nrdy=1
    )


_BY_CNS: dict[int, Callable[[Model, Values], bytes]] = {
    0x00: _namespace_of,
    0x01: _controller,
    0x02: _active_list,
    0x03: _descriptors,
    0x05: _nvm_namespace,
    0x06: _nvm_controller,
    0x07: _active_list,
    0x08: _independent_namespace,
}
_OF_A_COMMAND_SET = (0x05, 0x06, 0x07)


def identify(model: Model, command: Values) -> bytes:
    """Return the data of an Identify command."""
    cns = command.cdw10 & 0xFF
    build = _BY_CNS.get(cns)
    if build is None:
        raise invalid_field(40)
    if cns in _OF_A_COMMAND_SET and command.cdw11 >> 24:
        raise invalid_field(47)
    return build(model, command).ljust(IDENTIFY_BYTES, b"\0")
