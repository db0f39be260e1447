"""What the log pages of one logical unit tell that outlives a restart.

A controller counts for all its namespaces, and not by SCSI's measures: what belongs to one logical
unit the target keeps. It is written down as LOG SELECT asks, when the logical unit goes, and now
and then if it has changed: a crash loses what came since.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, field, fields
from typing import Any

from scsi2nvme.records import dataclass
from scsi2nvme.typed import table
from scsi2nvme.unit.block_device import BlockDevice
from scsi2nvme.unit.counters import Counters
from scsi2nvme.unit.statistics import Statistics
from scsi2nvme.unit.store import Store, load_as

# General usage parameters of the Application Client page. Spec: SPC-4 7.3.3.
CLIENT_PARAMETERS, CLIENT_BYTES = 64, 252

_MOST = 1 << 64


@dataclass(frozen=True, slots=True)
class Totals:
    """What reads and writes have done, in all."""

    read_commands: int = 0
    write_commands: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    read_us: int = 0
    write_us: int = 0

    def __post_init__(self) -> None:
        if not all(0 <= value < _MOST for value in asdict(self).values()):
            raise ValueError("totals: hold what is no count")

    @classmethod
    def of(cls, now: Statistics) -> Totals:
        """Return those of the statistics of a daemon's life."""
        read, write = now.read, now.write
        return cls(
            *(read.operations, write.operations, read.bytes, write.bytes),
            *(read.latency_us, write.latency_us),
        )

    def plus(self, other: Totals) -> Totals:
        """Return the sum."""
        names = [each.name for each in fields(self)]
        sums = {name: getattr(self, name) + getattr(other, name) for name in names}
        return Totals(**{name: min(value, _MOST - 1) for name, value in sums.items()})

    def minus(self, other: Totals) -> Totals:
        """Return what has been done since it was the other."""
        names = [each.name for each in fields(self)]
        return Totals(
            **{name: max(0, getattr(self, name) - getattr(other, name)) for name in names}
        )


@dataclass(frozen=True)
class _Saved:
    """What is written down. `client` are parameters by code, in hexadecimal.

    `since` and `idle_since_ms` are the totals that page 19h counts from.
    """

    totals: Totals = field(default_factory=Totals)
    counts: dict[str, int] = field(default_factory=dict)
    client: dict[str, str] = field(default_factory=dict)
    idle_ms: int = 0
    since: Totals = field(default_factory=Totals)
    idle_since_ms: int = 0

    def __post_init__(self) -> None:
        counts = self.idle_ms, self.idle_since_ms, *self.counts.values()
        if not all(-_MOST < value < _MOST for value in counts):
            raise ValueError("counts: hold what is no count")
        for code, value in self.client.items():
            number = int(code, 16) if len(code) == 4 else CLIENT_PARAMETERS
            if not 0 <= number < CLIENT_PARAMETERS or len(bytes.fromhex(value)) != CLIENT_BYTES:
                raise ValueError("client: holds what is no parameter")


class LogParameters:
    """The counts of one logical unit, and what initiators have left with it.

    `statistics` tells what was counted since it is served.
    """

    def __init__(
        self, device: BlockDevice, store: Store, statistics: Callable[[], Statistics]
    ) -> None:
        """Go on from what `store` holds; DamagedState if that makes no sense."""
        self._store = store
        self._key = f"log/{device.state_key}"
        self._statistics = statistics
        self._written = load_as(store, self._key, "", _parsed) or _Saved()
        self._idle_ms, self._idle_since_ms = self._written.idle_ms, self._written.idle_since_ms
        self._since = self._written.since
        self.counters = Counters(self._written.counts)
        self._client = {int(at, 16): bytes.fromhex(v) for at, v in self._written.client.items()}
        self._earlier = self._written.totals

    def totals(self) -> Totals:
        """Return what reads and writes have done since the logical unit was first served."""
        return self._earlier.plus(Totals.of(self._statistics()))

    def accesses(self) -> Totals:
        """Return the same since that was reset."""
        return self.totals().minus(self._since)

    def reset_accesses(self) -> None:
        """Have them be counted from now on."""
        self._since = self.totals()

    def idle_ms(self, now: int) -> int:
        """Return for how long it was idle since that was reset, never less than before.

        `now` is for how long it seems to have been.
        """
        self._idle_ms = max(self._idle_ms, now)
        return max(0, self._idle_ms - self._idle_since_ms)

    def reset_idle(self, now: int) -> None:
        """Have the same be counted from now on."""
        self._idle_ms = max(self._idle_ms, now)
        self._idle_since_ms = self._idle_ms

    def client(self, code: int) -> bytes:
        """Return what application clients have left under a parameter code."""
        return self._client.get(code, bytes(CLIENT_BYTES))

    def leave(self, values: Mapping[int, bytes]) -> None:
        """Keep what an application client leaves, durably; UnsavedState keeps what was there."""
        before = self._client
        self._client = before | dict(values)
        try:
            self.save()
        except OSError:
            self._client = before
            raise

    def save(self) -> None:
        """Write down what has changed since it was written; UnsavedState if that fails."""
        now = _Saved(
            self.totals(),
            dict(sorted(self.counters.saved().items())),
            {f"{code:04x}": value.hex() for code, value in sorted(self._client.items())},
            self._idle_ms,
            self._since,
            self._idle_since_ms,
        )
        if now != self._written:
            self._store.save(self._key, asdict(now))
            self._written = now


def _parsed(value: Mapping[str, Any]) -> _Saved:
    return table(value, _Saved)
