"""Asymmetric namespace access: this controller's way to its namespaces is not always open.

All namespaces are in one ANA group, whose state is given, and changes by a vendor's command of
ours, as it does by a real controller's own decision. Spec: NVMe Base 2.0c 8.1.
"""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import (
    AdminCommand,
    Capability,
    Controller,
    Fields,
    LogPage,
    Part,
)
from scsi2nvme.drivers.emulated.image import NamespaceState
from scsi2nvme.drivers.emulated.model import NCC, Event, invalid_field
from scsi2nvme.drivers.scheme import Option
from scsi2nvme.fields import Values
from scsi2nvme.nvme.ana import (
    ANA_CHANGED,
    ANA_GROUP,
    ANA_HEADER,
    ANA_LOG,
    ANA_NOTICE,
    CAPABILITIES,
    CMIC_ANA,
    GROUPS_ONLY,
    AnaState,
)

SET_STATE = 0xC9  # a vendor's command: CDW10 is the ANA state
_GROUP = 1
_ANATT_S = 10
_SAME_GROUPS = 1 << 6  # ANACAP: a namespace stays in its group
_STATE_CHANGED = Event(2, ANA_CHANGED, ANA_LOG)
_NAMES = {state.name.lower().replace("_", "-"): state for state in AnaState}


def _parse(text: str) -> AnaState:
    if text not in _NAMES:
        raise ValueError(f"is none of {', '.join(_NAMES)}")
    return _NAMES[text]


ANA = Option(
    "ana",
    "STATE",
    f"emulated only: report asymmetric namespace access, and begin in this state: "
    f"{', '.join(_NAMES)} (default: it is not reported)",
    _parse,
    86,
    "ana_state",
    subject="asymmetric access",
)


class Access(Part):
    """In which state the group is."""

    def __init__(self, controller: Controller) -> None:
        self._model = controller.model
        self._changes = 0
        self.groups_only = False
        self.state: AnaState = controller.settings[ANA.keyword]
        self._follow()

    def set(self, state: AnaState) -> None:
        """Have the group be in another state, and tell of it."""
        if state == self.state:
            return
        self.state = state
        self._changes += 1
        self._follow()
        self._model.notify(_STATE_CHANGED)

    def _follow(self) -> None:
        self._model.ana_state = self.state
        for namespace in self._model.state.namespaces:
            if namespace.formatting is None and not self._model.sanitizing:
                self._model.attach(namespace)

    def log(self) -> bytes:
        """Return the log, with the NSIDs unless the groups only are wanted."""
        nsids = [] if self.groups_only else [one.nsid for one in self._model.active]
        group = ANA_GROUP.build(
            grpid=_GROUP, nnsids=len(nsids), chgcnt=self._changes, state=self.state
        )
        header = ANA_HEADER.build(chgcnt=self._changes, ngrps=1)
        return header + group + b"".join(nsid.to_bytes(4, "little") for nsid in nsids)


def _asked(controller: Controller, command: Values) -> None:
    controller.part(Access).groups_only = bool(command.cdw10 >> 8 & GROUPS_ONLY)


def _set_state(controller: Controller, command: Values) -> int:
    if command.cdw10 not in set(AnaState):
        raise invalid_field(40)
    controller.part(Access).set(AnaState(command.cdw10))
    return 0


def _controller(controller: Controller) -> Fields:
    return {
        "cmic": CMIC_ANA,
        "oaes": ANA_NOTICE,
        "anatt": _ANATT_S,
        "anacap": sum(CAPABILITIES.values()) | _SAME_GROUPS,
        "anagrpmax": _GROUP,
        "nanagrpid": 1,
    }


def _namespace(controller: Controller, namespace: NamespaceState) -> Fields:
    return {"anagrpid": _GROUP}


CAPABILITY = Capability(
    "Asymmetric Namespace Access",
    commands=(AdminCommand(SET_STATE, _set_state, NCC),),
    log_pages=(
        LogPage(
            ANA_LOG,
            lambda controller: controller.part(Access).log(),
            controller_only=True,
            asked=_asked,
        ),
    ),
    controller=_controller,
    any_namespace=_namespace,
    options=(ANA,),
    settings={ANA.keyword: None},
    start=Access,
    offered=lambda settings: settings[ANA.keyword] is not None,
)
