"""Events as the control API has them: their shapes, and the method."""

from __future__ import annotations

from dataclasses import field

from scsi2nvme.api.method import Method, Notification, Subscription, doc
from scsi2nvme.records import dataclass

LONGEST_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class WhichEvents:
    """Events by their numbers, which begin with 1 when the daemon does."""

    after: int = field(default=0, metadata=doc("those that came after this one"))
    wait_s: float = field(
        default=0.0,
        metadata=doc(f"how long to wait for one if there is none, at most {LONGEST_WAIT_S:g}"),
    )

    def __post_init__(self) -> None:
        if not 0 <= self.wait_s <= LONGEST_WAIT_S:
            raise ValueError(f"wait_s: is not between 0 and {LONGEST_WAIT_S:g}")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened."""

    number: int
    at_s: float = field(metadata=doc("when, in seconds since 1970"))
    kind: str = field(
        metadata=doc(
            "login, refusal, session-end, medium-error, unit-reset, disk-lost, "
            "controller-reset, controller-dead, controller-back, controller-event, "
            "controller-added, controller-removed, route-changed, streams-refused, "
            "hints-refused, "
            "command-forced, dump; there may be more"
        )
    )
    text: str = field(metadata=doc("for people"))
    about: dict[str, str] = field(
        metadata=doc("names of what it is about: initiator, target, address, controller, disk, …")
    )


@dataclass(frozen=True, slots=True)
class Events:
    """Events, in the order in which they came."""

    events: tuple[Event, ...]
    lost: int = field(metadata=doc("that came after the one named, and are kept no more"))
    last: int = field(metadata=doc("the number of the latest, to ask for those after it"))


EVENTS = Method(
    "events",
    "what has happened, and what happens next: those after one, of the latest 256 of each kind",
    WhichEvents,
    Events,
)


@dataclass(frozen=True, slots=True)
class Since:
    """Where a subscription begins."""

    after: int | None = field(
        default=None, metadata=doc("with those after this one; null: with the next that happens")
    )

    def __post_init__(self) -> None:
        if self.after is not None and self.after < 0:
            raise ValueError("after: is less than 0")


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription that has begun."""

    last: int = field(metadata=doc("the number of the latest event by then"))


@dataclass(frozen=True, slots=True)
class Lost:
    """Events that are told no more: who reads more slowly than they come loses the oldest."""

    lost: int = field(metadata=doc("how many, before the next that is told"))


EVENT = Notification("event", "it has happened", Event)
LOST = Notification("events.lost", "some are lost to this subscriber", Lost)
SUBSCRIBE: Subscription[Since, Subscribed, Event | Lost] = Subscription(
    "events.subscribe",
    "tell each event as it happens, on this connection, until it ends",
    Since,
    Subscribed,
    tells=(EVENT, LOST),
)
