"""Identify, and what no other capability says of controller and namespaces.

Spec: NVMe Base 2.0c 5.17.
"""

from __future__ import annotations

from collections.abc import Iterable

from scsi2nvme.drivers.emulated.capabilities.lba_status import LBA_STATUS
from scsi2nvme.drivers.emulated.capabilities.told import told
from scsi2nvme.drivers.emulated.capability import (
    AdminCommand,
    Capability,
    Controller,
    Fields,
    IdentifyData,
    merged,
)
from scsi2nvme.drivers.emulated.image import (
    NamespaceState,
    namespace_eui64,
    namespace_nguid,
    namespace_uuid,
    subsystem_uuid,
)
from scsi2nvme.drivers.emulated.lba_formats import PHYSICAL_BYTES
from scsi2nvme.drivers.emulated.model import VERSION, CommandFailed, invalid_field
from scsi2nvme.drivers.scheme import Option
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import BROADCAST_NSID, AdminOpcode
from scsi2nvme.nvme.lba_status import AOCS_ALLOCATED
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import (
    IDENTIFY_BYTES,
    IDENTIFY_CONTROLLER,
    IDENTIFY_INDEPENDENT_NAMESPACE,
    IDENTIFY_NAMESPACE,
    IDENTIFY_NVM_CONTROLLER,
)
from scsi2nvme.nvme.zoned import ZONED_COMMAND_SET

_OUI = 0x525400


IDENTIFIERS = Option(
    "identifiers",
    "TEXT",
    "make NGUIDs, EUI-64s and UUIDs of TEXT and not of the serial number: disks that have it "
    "in common have them, too, as careless vendors' do (emulated only)",
    str,
    85,
    "identifiers",
    subject="identifiers",
)


# ---- what holds whatever else there is ----


def _origin(controller: Controller) -> str:
    """Return what identifiers are made of."""
    return str(controller.settings[IDENTIFIERS.keyword] or controller.model.state.serial)


def _controller_fields(controller: Controller) -> Fields:
    model = controller.model
    serial = model.state.serial
    return {
        "sn": f"{serial:<20}".encode(),
        "mn": f"{'scsi2nvme emulated controller':<40}".encode(),
        "ieee": _OUI,
        "ver": VERSION,
        "rtd3r": 1_000_000,
        "rtd3e": 10_000_000,
        "cntrltype": 1,
        "tnvmcap": model.total_bytes,
        "sqes": 0x66,
        "cqes": 0x44,
        "nn": model.maximum_namespaces,
        "subnqn": f"nqn.2014-08.org.nvmexpress:uuid:{subsystem_uuid(serial)}".encode(),
    }


def _namespace_fields(controller: Controller, state: NamespaceState) -> Fields:
    model = controller.model
    blocks, origin = model.blocks(state), _origin(controller)
    physical = PHYSICAL_BYTES // state.block_bytes - 1
    return {
        "nsze": blocks,
        "ncap": blocks * model.accessible,  # cleared as NVMe Base 2.0c 8.1.3 has it
        "nuse": model.used_blocks(state) * model.accessible,
        "nsfeat": 1 << 4,  # NPWG to NOWS are valid
        "flbas": model.formats.index(state.block_bytes, model.metadata_of(state)),
        "nvmcap": model.taken_bytes(state) * model.accessible,
        "npwg": physical,
        "npwa": physical,
        "npdg": physical,
        "npda": physical,
        "nows": physical,
        "nguid": namespace_nguid(origin, state.nsid, state.birth),
        "eui64": namespace_eui64(origin, state.nsid, state.birth),
        **model.formats.fields(),
    }


# ---- data structures ----


def _namespace(controller: Controller, command: Values) -> bytes:
    model = controller.model
    if model.image.capacity is not None:
        if command.nsid == BROADCAST_NSID:
            return IDENTIFY_NAMESPACE.build(**model.formats.fields())  # all have these in common
        if 1 <= command.nsid <= model.maximum_namespaces and not any(
            state.nsid == command.nsid for state in model.active
        ):
            return b""  # inactive
    return namespace_data(controller, model.namespace(command.nsid))


def namespace_data(controller: Controller, state: NamespaceState) -> bytes:
    """Return Identify Namespace of a namespace, active or not."""
    capabilities = controller.tables.capabilities
    fields = merged(
        [
            *(one.namespace(controller, state) for one in capabilities),
            *(one.any_namespace(controller, state) for one in capabilities),
        ]
    )
    return IDENTIFY_NAMESPACE.build(**fields | told(controller.settings, "ns"))


def identify_controller(controller: Controller) -> Values:
    """Return Identify Controller."""
    capabilities = controller.tables.capabilities
    fields = merged(one.controller(controller) for one in capabilities)
    raw = IDENTIFY_CONTROLLER.build(**fields | told(controller.settings, "ctrl"))
    return IDENTIFY_CONTROLLER.parse(raw)


def _controller(controller: Controller, command: Values) -> bytes:
    return identify_controller(controller).raw


def namespace_list(namespaces: Iterable[NamespaceState], command: Values) -> bytes:
    """Return a list of those NSIDs that follow the command's."""
    if command.nsid >= 0xFFFFFFFE:
        raise CommandFailed(StatusCode.INVALID_NAMESPACE, 4)
    nsids = [state.nsid for state in namespaces if state.nsid > command.nsid]
    return b"".join(nsid.to_bytes(4, "little") for nsid in nsids[: IDENTIFY_BYTES // 4])


def _active_list(controller: Controller, command: Values) -> bytes:
    return namespace_list(controller.model.active, command)


def _nvm_list(controller: Controller, command: Values) -> bytes:
    return b"" if controller.model.zoning else _active_list(controller, command)


def _descriptor(kind: int, value: bytes) -> bytes:
    return bytes([kind, len(value), 0, 0]) + value


def _descriptors(controller: Controller, command: Values) -> bytes:
    state = controller.model.namespace(command.nsid)
    of = _origin(controller), state.nsid, state.birth
    return (
        _descriptor(1, namespace_eui64(*of))
        + _descriptor(2, namespace_nguid(*of))
        + _descriptor(3, namespace_uuid(*of))
        + _descriptor(4, bytes([ZONED_COMMAND_SET if controller.model.zoning else 0]))
    )


def _nvm_namespace(controller: Controller, command: Values) -> bytes:
    controller.model.namespace(command.nsid)
    return b""  # no storage tags, no protection information


def _nvm_controller(controller: Controller, command: Values) -> bytes:
    on_a_file = controller.model.image.path is not None
    told = controller.settings.get(LBA_STATUS.keyword) and on_a_file
    aocs = AOCS_ALLOCATED if told else 0
    return IDENTIFY_NVM_CONTROLLER.build(aocs=aocs)  # no limit but MDTS


def _independent_namespace(controller: Controller, command: Values) -> bytes:
    state = controller.model.namespace(command.nsid)
    capabilities = controller.tables.capabilities
    fields = merged(one.any_namespace(controller, state) for one in capabilities)
    return IDENTIFY_INDEPENDENT_NAMESPACE.build(**fields, nstat=1)


def _identify(controller: Controller, command: Values) -> int:
    cns, command_set, rows = command.cdw10 & 0xFF, command.cdw11 >> 24, controller.tables.identify
    row = rows.get((cns, 0))
    if row is None:
        raise invalid_field(40)
    if row.of_command_set:
        row = rows.get((cns, command_set))
    if row is None:
        raise invalid_field(47)
    controller.to_host(command, row.build(controller, command).ljust(IDENTIFY_BYTES, b"\0"))
    return 0


CAPABILITY = Capability(
    "Identify",
    commands=(AdminCommand(AdminOpcode.IDENTIFY, _identify),),
    identify=(
        IdentifyData(0x00, _namespace),
        IdentifyData(0x01, _controller),
        IdentifyData(0x02, _active_list),
        IdentifyData(0x03, _descriptors),
        IdentifyData(0x05, _nvm_namespace, of_command_set=True),
        IdentifyData(0x06, _nvm_controller, of_command_set=True),
        IdentifyData(0x07, _nvm_list, of_command_set=True),
        IdentifyData(0x08, _independent_namespace),
    ),
    cap={"to": 20, "css": 1},
    controller=_controller_fields,
    namespace=_namespace_fields,
    options=(IDENTIFIERS,),
    settings={IDENTIFIERS.keyword: ""},
)
