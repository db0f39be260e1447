"""Namespaces that come, go, and change their size: managed, and attached to the controller.

Spec: NVMe Base 2.0c 5.19, 5.20, 8.12. That a namespace of a real disk becomes larger or smaller
is its vendor's affair: here it is a command of ours.
"""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capabilities.identify import namespace_data, namespace_list
from scsi2nvme.drivers.emulated.capability import (
    AdminCommand,
    Capability,
    Controller,
    Fields,
    IdentifyData,
    Part,
)
from scsi2nvme.drivers.emulated.image import (
    GRANULE_BYTES,
    MANAGED_NAMESPACES,
    NamespaceState,
)
from scsi2nvme.drivers.emulated.lba_formats import Metadata
from scsi2nvme.drivers.emulated.model import LBCC, NCC, NIC, CommandFailed, invalid_field
from scsi2nvme.drivers.scheme import Option, parse_size
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import BROADCAST_NSID, AdminOpcode
from scsi2nvme.nvme.persistent_events import CHANGE_NAMESPACE, EventKind
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import IDENTIFY_BYTES, IDENTIFY_NAMESPACE

RESIZE = 0xC8  # a vendor's command: the namespace's size in blocks is in CDW10 and CDW11
_OACS_NAMESPACE_MANAGEMENT = 1 << 3
_CREATE, _DELETE = 0, 1
_ATTACH, _DETACH = 0, 1
_SELECT = 0xF
_CREATED = "namespaces_created"  # what is kept: how many
_CONTROLLER = 0  # CNTLID of the only one there is
_SCRATCH = MANAGED_NAMESPACES + 1  # an NSID that nothing has, for what is cut off

CAPACITY = Option(
    "capacity",
    "BYTES",
    f"emulated only: there is so much for namespaces, up to {MANAGED_NAMESPACES} of them, which "
    "can be created, deleted, attached and detached (default: those there are stay)",
    parse_size,
    32,
    "capacity",
    subject="a capacity beside its namespaces",
)


class Management(Part):
    """Changes which namespaces there are, and tells of that."""

    def __init__(self, controller: Controller) -> None:
        self._model = controller.model

    @property
    def unallocated_bytes(self) -> int:
        """UNVMCAP: what no namespace takes."""
        model = self._model
        return model.total_bytes - sum(map(model.taken_bytes, model.state.namespaces))

    def create(self, data: Values) -> int:
        """Create a namespace that is attached to no controller; return its NSID."""
        model, kept = self._model, self._model.state.kept
        block_bytes, metadata = self._layout(data)
        taken = {one.nsid for one in model.state.namespaces}
        free = [nsid for nsid in range(1, MANAGED_NAMESPACES + 1) if nsid not in taken]
        if not free:
            raise CommandFailed(StatusCode.NAMESPACE_IDENTIFIER_UNAVAILABLE)
        self._check_room(data.nsze * block_bytes)
        self._check_rest()
        birth = kept.get(_CREATED, 0) + 1
        namespace = NamespaceState(
            free[0], block_bytes, bytes=data.nsze * block_bytes, attached=False, birth=birth
        )
        kept[_CREATED] = birth
        model.state.namespaces.append(namespace)
        model.metadata[namespace.nsid] = metadata
        model.state.namespaces.sort(key=lambda one: one.nsid)
        model.attach(namespace)
        model.save()
        return namespace.nsid

    def _layout(self, data: Values) -> tuple[int, Metadata]:
        lbaf = data.flbas & 0xF | data.flbas >> 1 & 0x30
        chosen = self._model.formats.chosen(
            lbaf, extended=bool(data.flbas & 0x10), protection=data.dps
        )
        if chosen is None or data.flbas & 0x80 or data.dps >> 4:
            raise CommandFailed(StatusCode.INVALID_FORMAT)
        if data.nmic or data.anagrpid or data.nvmsetid or data.endgid:
            raise invalid_field(24)  # one controller, no groups, no sets
        if data.ncap != data.nsze:
            if data.ncap < data.nsze:
                raise CommandFailed(StatusCode.THIN_PROVISIONING_NOT_SUPPORTED)
            raise invalid_field(24)
        if data.nsze * chosen[0] < GRANULE_BYTES:
            raise invalid_field(24)
        return chosen

    def _check_room(self, size: int, *, beside: int = 0) -> None:
        if -(-size // GRANULE_BYTES) * GRANULE_BYTES > self.unallocated_bytes + beside:
            unallocated = self.unallocated_bytes
            raise CommandFailed(StatusCode.INSUFFICIENT_CAPACITY, specific=unallocated)

    def _check_rest(self) -> None:
        """A thread is erasing namespaces while a format is under way."""
        if any(one.formatting is not None for one in self._model.state.namespaces):
            raise CommandFailed(StatusCode.FORMAT_IN_PROGRESS, dnr=False)

    def delete(self, nsid: int) -> None:
        """Delete a namespace, or all (FFFFFFFFh): what was in it is gone."""
        model = self._model
        everyone = nsid == BROADCAST_NSID
        going = list(model.state.namespaces) if everyone else [model.allocated(nsid)]
        self._check_rest()
        for one in going:
            if one.write_protect:
                raise CommandFailed(StatusCode.NAMESPACE_WRITE_PROTECTED)
        seen = [one for one in going if one.attached]
        for one in going:
            one.attached = False
            model.attach(one)  # from here on nothing is done to it
            model.emulator.erase(one.nsid)
            model.emulator.remove_namespace(one.nsid)
            model.metadata.pop(one.nsid, None)
            model.state.namespaces.remove(one)
        model.save()
        for one in seen:
            model.namespace_changed(one)

    def attach(self, nsid: int, *, attached: bool) -> None:
        """Attach a namespace to the controller, or detach it."""
        model = self._model
        namespace = model.allocated(nsid)
        if namespace.attached == attached:
            known = StatusCode.NAMESPACE_ALREADY_ATTACHED, StatusCode.NAMESPACE_NOT_ATTACHED
            raise CommandFailed(known[not attached])
        self._check_rest()
        namespace.attached = attached
        model.attach(namespace)
        model.save()
        model.namespace_changed(namespace)

    def resize(self, nsid: int, blocks: int) -> None:
        """Have a namespace be of another size; what is cut off is lost."""
        model = self._model
        namespace = model.allocated(nsid)
        before, size = model.taken_bytes(namespace), blocks * namespace.block_bytes
        if size < GRANULE_BYTES:
            raise invalid_field(40)
        self._check_room(size, beside=before)
        self._check_rest()
        namespace.bytes = size
        model.attach(namespace)
        if model.taken_bytes(namespace) < before:
            self._erase(namespace, before)
        model.save()
        model.namespace_changed(namespace)

    def _erase(self, namespace: NamespaceState, end: int) -> None:
        """Deallocate what lies behind a namespace."""
        model, size = self._model, self._model.taken_bytes(namespace)
        offset = model.image.offset(namespace.nsid) + size
        blocks = (end - size) // GRANULE_BYTES
        model.emulator.set_namespace(
            *(_SCRATCH, model.image.medium, offset, blocks, GRANULE_BYTES),
            write_cache=model.write_cache,
            inactive=True,
        )
        model.emulator.erase(_SCRATCH)
        model.emulator.remove_namespace(_SCRATCH)


def _manage(controller: Controller, command: Values) -> int:
    management, select = controller.part(Management), command.cdw10 & _SELECT
    if select == _DELETE:
        management.delete(command.nsid)
        _record(controller, command, nsid=command.nsid)
        return 0
    if select != _CREATE:
        raise invalid_field(40)
    if command.cdw11 >> 24:
        raise CommandFailed(StatusCode.IO_COMMAND_SET_NOT_SUPPORTED, 47)
    if command.nsid:
        raise invalid_field(4)
    data = IDENTIFY_NAMESPACE.parse(controller.from_host(command, IDENTIFY_BYTES))
    nsid = management.create(data)
    told = {name: data[name] for name in ("nsze", "flbas", "dps", "nmic")}
    _record(controller, command, nsid=nsid, nscap=data.ncap, **told)
    return nsid


def _record(controller: Controller, command: Values, **fields: int) -> None:
    event = CHANGE_NAMESPACE.build(nsmgt_cdw10=command.cdw10, **fields)
    controller.model.record(EventKind.CHANGE_NAMESPACE, event)


def _attach(controller: Controller, command: Values) -> int:
    select = command.cdw10 & _SELECT
    if select not in (_ATTACH, _DETACH):
        raise invalid_field(40)
    data = controller.from_host(command, IDENTIFY_BYTES)
    identifiers = [int.from_bytes(data[n : n + 2], "little") for n in (0, 2)]
    if identifiers != [1, _CONTROLLER]:
        raise CommandFailed(StatusCode.INVALID_CONTROLLER_LIST)
    controller.part(Management).attach(command.nsid, attached=select == _ATTACH)
    return 0


def _resize(controller: Controller, command: Values) -> int:
    controller.part(Management).resize(command.nsid, command.cdw10 | command.cdw11 << 32)
    return 0


# ---- Identify ----


def _allocated_list(controller: Controller, command: Values) -> bytes:
    return namespace_list(controller.model.state.namespaces, command)


def _allocated(controller: Controller, command: Values) -> bytes:
    model = controller.model
    if not any(state.nsid == command.nsid for state in model.state.namespaces):
        if not 1 <= command.nsid <= model.maximum_namespaces:
            raise CommandFailed(StatusCode.INVALID_NAMESPACE, 4)
        return b""  # unallocated
    return namespace_data(controller, model.allocated(command.nsid))


def _controllers(controller: Controller, command: Values) -> bytes:
    """Return the list of controllers from CNTID on: there is one."""
    found = command.cdw10 >> 16 <= _CONTROLLER
    return found.to_bytes(2, "little") + _CONTROLLER.to_bytes(2, "little")


def _attached_controllers(controller: Controller, command: Values) -> bytes:
    attached = controller.model.allocated(command.nsid) in controller.model.active
    return _controllers(controller, command) if attached else b""


def _controller(controller: Controller) -> Fields:
    unallocated = controller.part(Management).unallocated_bytes
    return {"oacs": _OACS_NAMESPACE_MANAGEMENT, "unvmcap": unallocated}


CAPABILITY = Capability(
    "Namespace Management",
    commands=(
        AdminCommand(AdminOpcode.NAMESPACE_MANAGEMENT, _manage, LBCC | NCC | NIC),
        AdminCommand(AdminOpcode.NAMESPACE_ATTACHMENT, _attach, NCC | NIC),
        AdminCommand(RESIZE, _resize, LBCC | NCC),
    ),
    identify=(
        IdentifyData(0x10, _allocated_list),
        IdentifyData(0x11, _allocated),
        IdentifyData(0x12, _attached_controllers),
        IdentifyData(0x13, _controllers),
        IdentifyData(0x1A, _allocated_list, of_command_set=True),
    ),
    controller=_controller,
    options=(CAPACITY,),
    settings={CAPACITY.keyword: None},
    start=Management,
    offered=lambda settings: settings[CAPACITY.keyword] is not None,
)
