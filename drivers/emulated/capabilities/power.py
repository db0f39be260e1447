"""Power states: one that works and one that rests, or more on request.

With more of them there are Autonomous Power State Transitions, too: the table is kept, but no
state is left or entered by itself. Spec: NVMe Base 2.0c 5.27.1.2, 5.27.1.9.
"""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability, Controller, Feature, Fields, Part
from scsi2nvme.drivers.emulated.model import CommandFailed, invalid_field
from scsi2nvme.drivers.scheme import Option
from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import POWER_STATE

_TWO = (
    POWER_STATE.build(mp=500, aps=2, actp=400),
    POWER_STATE.build(mp=50, nops=1, enlat=2000, exlat=5000, rrt=1, rrl=1, rwt=1, rwl=1),
)
# Of the last two the second takes hundredths of a watt (MXPS).
_FIVE = (
    POWER_STATE.build(mp=900, aps=2, actp=800),
    POWER_STATE.build(mp=460, rrt=1, rrl=1, rwt=1, rwl=1),
    POWER_STATE.build(mp=280, enlat=100, exlat=200, rrt=2, rrl=2, rwt=2, rwl=2),
    POWER_STATE.build(mp=450, mxps=1, nops=1, enlat=2000, exlat=5000, rrt=3, rrl=3, rwt=3, rwl=3),
    POWER_STATE.build(mp=50, mxps=1, nops=1, enlat=8000, exlat=40000, rrt=4, rrl=4, rwt=4, rwl=4),
)
_TABLES = {2: _TWO, 5: _FIVE}


def _parse_states(text: str) -> int:
    if text not in map(str, _TABLES):
        raise ValueError(f"is not {' or '.join(map(str, _TABLES))}")
    return int(text)


STATES = Option(
    "powerstates",
    "2|5",
    "emulated only: how many power states there are; five have latencies, three of them are "
    "operational (default 2)",
    _parse_states,
    78,
    "power_states",
    subject="a choice",
)
_APST = 0x0C
_ENTRIES = 32
ENTRY = Structure(
    "Autonomous Power State Transition entry",
    8,
    (Field("itps", 0, 3, 5, "to which state"), Field("itpt", 1, 0, 24, "idle milliseconds")),
    order="little",
    spec="NVMe Base 2.0c figure 325",
)


def _states(controller: Controller) -> tuple[bytes, ...]:
    states: int = controller.settings[STATES.keyword]
    return _TABLES[states]


class Transitions(Part):
    """The table of Autonomous Power State Transitions, which a reset clears."""

    def __init__(self, controller: Controller) -> None:
        self.reset()

    def reset(self) -> None:
        """See Part."""
        self.enabled, self.table = 0, bytes(_ENTRIES * ENTRY.size)


def _check(controller: Controller, value: int) -> int:
    if value & 0x1F >= len(_states(controller)):
        raise invalid_field(44)
    return value & 0xFF


def _there(controller: Controller) -> Transitions:
    if controller.settings[STATES.keyword] == len(_TWO):
        raise CommandFailed(StatusCode.INVALID_FIELD, 40)
    return controller.part(Transitions)


def _get(controller: Controller, command: Values) -> tuple[int, bytes]:
    transitions = _there(controller)
    return transitions.enabled, transitions.table


def _put(controller: Controller, command: Values, data: bytes) -> int:
    transitions, states = _there(controller), _states(controller)
    for at in range(0, len(data), ENTRY.size):
        entry = ENTRY.parse(data[at : at + ENTRY.size])
        if not entry.itpt:
            continue
        if entry.itps >= len(states) or not POWER_STATE.parse(states[entry.itps]).nops:
            raise invalid_field(44)
    transitions.enabled, transitions.table = command.cdw11 & 1, data
    return 0


def _controller(controller: Controller) -> Fields:
    states = _states(controller)
    return {"npss": len(states) - 1, "psds": b"".join(states), "apsta": int(states is _FIVE)}


CAPABILITY = Capability(
    "Power Management",
    features=(
        Feature(0x02, check=_check),
        Feature(_APST, data_bytes=lambda value: _ENTRIES * ENTRY.size, get=_get, put=_put),
    ),
    controller=_controller,
    options=(STATES,),
    settings={STATES.keyword: 2},
    start=Transitions,
)
