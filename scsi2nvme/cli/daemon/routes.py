"""Controllers of one disk as routes to its namespaces: what has to be equal of them."""

from __future__ import annotations

from scsi2nvme.cli.daemon.front_ends.front_end import Served
from scsi2nvme.cli.spec import ControllerSpec
from scsi2nvme.drivers.nvme.controller import ControllerState
from scsi2nvme.native.unit_parameters import UnitParameters
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.reservations import CTRATT_HOST_ID_128
from scsi2nvme.service.routing import ServedRoute
from scsi2nvme.unit.block_device import BlockDevice
from scsi2nvme.unit.logical_unit import LogicalUnit

# What translations go by beside what the hot path does, of Identify Controller.
_FIELDS = (
    "mdts",
    "oncs",
    "oacs",
    "fuses",
    "vwc",
    "fna",
    "sanicap",
    "lpa",
    "elpe",
    "npss",
    "ocfs",
    "nvmsr",
)
# Options of a SPEC that count for its logical units, and by which attribute these keep them.
_OPTIONS = {
    "readonly": "read_only",
    "removable": "removable",
    "security": "security",
    "secure_format": "secure_format",
    "may_be_sanitized": "may_be_sanitized",
    "history_allowed": "history_allowed",
    "firmware_allowed": "firmware_allowed",
    "enclosure_allowed": "enclosure_allowed",
    "physical_block_bytes": "maximum_physical_block_bytes",
    "reservations_on_disk": None,  # its reservations are others
}


def set_options(lu: LogicalUnit, spec: ControllerSpec) -> None:
    """Have a logical unit be as the options of its controller say; None: as it is by itself."""
    for name, attribute in _OPTIONS.items():
        if attribute is not None and (value := getattr(spec, name)) is not None:
            setattr(lu, attribute, value)


def route(one: Served, facts: NamespaceFacts) -> ServedRoute:
    """Return a controller as a route to a namespace of its."""
    controller = one.controller
    return ServedRoute(
        one.portal_group,
        facts,
        alive=lambda: controller.state is not ControllerState.DEAD,
        executor=controller,
        controller=one.native,
        label=one.settings.spec.text,
        settings=controller.settings_made,
    )


def reason_against(
    lu: LogicalUnit,
    first: ControllerSpec,
    before: NamespaceFacts,
    second: ControllerSpec,
    facts: NamespaceFacts,
) -> str:
    """Return why a logical unit cannot be reached by a second controller as well, "" if it can."""
    if any(getattr(first, name) != getattr(second, name) for name in _OPTIONS):
        return "the options of both have to be equal"
    if lu.zones is not None:
        return "namespaces with zones are reached by one controller only"
    if any(not nexus.target.device for nexus in lu.nexuses):
        return "the kernel's target has it; it is reached by both after a restart"
    controllers = before.controller, facts.controller
    differing = [name for name in _FIELDS if controllers[0][name] != controllers[1][name]]
    if differing:
        return f"the controllers are not alike in {', '.join(name.upper() for name in differing)}"
    lengths = {each.ctratt & CTRATT_HOST_ID_128 for each in controllers}
    if first.reservations_on_disk and len(lengths) > 1:
        return "the controllers take host identifiers of different lengths"
    if UnitParameters.of(BlockDevice(before)) != UnitParameters.of(BlockDevice(facts)):
        return "the controllers do not tell the same of it"
    return ""
