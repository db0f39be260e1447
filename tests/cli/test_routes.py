"""What has to be equal of controllers that lead to one logical unit."""

from __future__ import annotations

from scsi2nvme.cli.daemon.routes import reason_against, set_options
from scsi2nvme.cli.spec import parse
from scsi2nvme.drivers.transports import SCHEMES
from scsi2nvme.unit.logical_unit import LogicalUnit
from tests.support import make_facts

PER_UNIT = {
    "physical": "8192",
    "readonly": "on",
    "removable": "on",
    "sanitize": "on",
    "secure_format": "data",
    "security": "on",
    "history": "on",
    "firmware": "on",
    "reservations": "disk",
}


def test_an_option_of_logical_units_is_known_as_such() -> None:
    """By one table: both controllers have to have it, and the logical unit is so."""
    offered = [{option.name for option in scheme.options()} for scheme in SCHEMES.values()]
    for option in set.intersection(*offered):
        spec = parse(f"emulated:x,{option}={PER_UNIT[option]}")
        lu, before = LogicalUnit(make_facts()), LogicalUnit(make_facts())
        facts = lu.facts
        reason = reason_against(lu, parse("emulated:x"), facts, spec, facts)
        assert reason == "the options of both have to be equal", option
        set_options(lu, spec)
        changed = [name for name in vars(lu) if _plain(lu, name) != _plain(before, name)]
        assert len(changed) == (option != "reservations"), option


def _plain(lu: LogicalUnit, name: str) -> object:
    value = getattr(lu, name)
    return value if isinstance(value, int) else None
