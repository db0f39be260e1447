"""A logical unit and a nexus, to play translations on against a model of a controller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scsi2nvme.command import Command
from scsi2nvme.nvme.directives import Streams
from scsi2nvme.nvme.namespace import NamespaceFacts, Zones
from scsi2nvme.nvme.structures import (
    IDENTIFY_CONTROLLER,
    IDENTIFY_NAMESPACE,
    IDENTIFY_NVM_CONTROLLER,
    LBA_FORMAT,
    POWER_STATE,
)
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import ASYMMETRIC_ACCESS_STATE_CHANGED, SenseCode
from scsi2nvme.unit.block_device import Portion
from scsi2nvme.unit.delivery import ServiceDelivery
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from scsi2nvme.unit.ports import PortName
from scsi2nvme.unit.routes import AccessChange, Route
from tests.model_controller import ModelController
from tests.model_mover import move_on_models
from tests.model_zones import ModelZones

NGUID = bytes.fromhex("0102030405060708090a0b0c0d0e0f10")
EUI64 = bytes.fromhex("1112131415161718")

CONTROLLER: dict[str, int | bytes] = {
    "vid": 0x1B36,
    "ssvid": 0x1AF4,
    "sn": b"SN0001".ljust(20),
    "mn": b"Model Controller".ljust(40),
    "fr": b"1.0".ljust(8),
    "ieee": 0x123456,
    "mdts": 5,
    "sanicap": 0b111,  # cryptographic and block erase, overwrite
    "ver": 0x00020000,
    "cntrltype": 1,
    "oacs": 0x1F,  # security, format, firmware, namespace management, self-test
    "dsto": 0x3,  # one operation at a time, and refreshes
    "acl": 3,
    "aerl": 3,
    "frmw": 0x16,  # three slots, activation without reset
    "lpa": 0x0F,
    "elpe": 63,
    "npss": 1,
    "wctemp": 343,
    "cctemp": 353,
    "edstt": 10,
    "nn": 4,
    "oncs": 0x1FF,
    "ocfs": 1,
    "fuses": 1,
    "vwc": 1,
    "awun": 255,
    "awupf": 7,
    "nwpc": 1,
    "acwu": 7,
    "sqes": 0x66,
    "cqes": 0x44,
    "psds": POWER_STATE.build(mp=900) + POWER_STATE.build(mp=100, nops=1, enlat=1000, exlat=2000),
}
NAMESPACE: dict[str, int | bytes] = {
    "nlbaf": 1,
    "dlfeat": 0b1001,  # reads zero, Write Zeroes deallocates
    "fpi": 0x80,
    "rescap": 0xFF,
    "mssrl": 128,
    "mcl": 512,
    "msrc": 3,
    "nguid": NGUID,
    "eui64": EUI64,
    "lbafs": LBA_FORMAT.build(lbads=9) + LBA_FORMAT.build(lbads=12),
}


# Of a namespace of 4096 blocks.
SEVEN_STREAMS = Streams(7, write_blocks=128, granularity=16)
FOUR_ZONES = Zones(size=1024, capacity=1000, most_open=2)


def make_facts(
    *,
    blocks: int = 4096,
    block_bytes: int = 512,
    maximum_transfer_bytes: int = 16384,
    controller: Mapping[str, int | bytes] | None = None,
    namespace: Mapping[str, int | bytes] | None = None,
    nvm_controller: Mapping[str, int | bytes] | None = None,
    nsid: int = 1,
    zones: Zones | None = None,
    streams: Streams | None = None,
) -> NamespaceFacts:
    """Return facts of a fully capable namespace; the mappings override fields."""
    format_index = {512: 0, 4096: 1}[block_bytes]
    values = {
        **NAMESPACE,
        "nsze": blocks,
        "ncap": blocks,
        "nuse": blocks,
        "flbas": format_index,
        **(namespace or {}),
    }
    parsed = IDENTIFY_NAMESPACE.parse(IDENTIFY_NAMESPACE.build(**values))
    return NamespaceFacts(
        nsid=nsid,
        controller=IDENTIFY_CONTROLLER.parse(
            IDENTIFY_CONTROLLER.build(**{**CONTROLLER, **(controller or {})})
        ),
        namespace=parsed,
        maximum_transfer_bytes=maximum_transfer_bytes,
        nguid=parsed.bytes("nguid") if any(parsed.bytes("nguid")) else b"",
        eui64=parsed.bytes("eui64") if any(parsed.bytes("eui64")) else b"",
        nvm_controller=IDENTIFY_NVM_CONTROLLER.parse(
            IDENTIFY_NVM_CONTROLLER.build(**(nvm_controller or {}))
        ),
        zones=zones,
        streams=streams,
    )


def make_lu(**options: Any) -> LogicalUnit:
    """Return a logical unit without nexuses; `options` are those of `make_facts`."""
    lu = LogicalUnit(make_facts(**options))
    lu.may_be_sanitized = True
    return lu


def make_nexus(name: str = "a", *units: LogicalUnit) -> Nexus:
    """Return a nexus that sees `units` as LUN 0, 1, …, with no unit attention pending."""
    nexus = Nexus(
        PortName(f"iqn.2004-01.test:{name}", isid=name.encode()[:6].rjust(6, b"\0")),
        PortName("iqn.2004-01.test:target"),
    )
    for lun, unit in enumerate(units):
        nexus.luns[lun] = unit
        unit.attach(nexus)
        unit.unit_attentions[nexus.key].clear()
    return nexus


@dataclass
class Bench:
    """A logical unit with its controller model and one nexus (LUN 0); `zones`: if it has any."""

    lu: LogicalUnit
    model: ModelController
    nexus: Nexus
    others: dict[str, Nexus] = field(default_factory=dict)
    zones: ModelZones | None = None

    def other(self, name: str = "b") -> Nexus:
        """Return another nexus of the same logical unit, by name."""
        if name not in self.others:
            self.others[name] = make_nexus(name, self.lu)
        return self.others[name]

    def run(
        self,
        cdb: bytes,
        data_out: bytes = b"",
        *,
        nexus: Nexus | None = None,
        lun: int = 0,
        expected: int | None = None,
        portion: Portion | None = None,
        announced: int | None = None,
    ) -> Result:
        """Run one CDB through the engine; `expected` is its data transfer length, if told."""
        from scsi2nvme import engine

        return self.model.play(
            engine.run(
                engine.select(nexus or self.nexus, lun, cdb),
                data_out,
                expected,
                portion,
                announced=announced,
            )
        )

    def do(
        self, name: str, data_out: bytes = b"", /, *, nexus: Any = None, **fields: int
    ) -> Result:
        """Run a command by its row's name, with the CDB fields given.

        `nexus` is a Nexus or None; as Any it lets callers pass `**fields`.
        """
        return self.run(row(name).build(**fields), data_out, nexus=nexus)

    def finish(self, result: Result) -> Result:
        """Run what a command left to the background, and return how that ended."""
        assert result.background is not None, "nothing runs in the background"
        return self.model.play(result.background)


def make_bench(**options: Any) -> Bench:
    """Return a bench; `options` are those of `make_facts`."""
    lu = make_lu(**options)
    lu.security = lu.firmware_allowed = lu.history_allowed = True
    model = ModelController(lu.facts)
    move_on_models({lu: model})
    zones = ModelZones(model) if lu.zones is not None else None
    return Bench(lu, model, make_nexus("a", lu), zones=zones)


def bench_of(command: Command, **options: Any) -> Bench:
    """Return a bench whose logical unit has a command: where need be, one with zones, or two ways.

    Commands with long CDBs are those of blocks with type 2 protection information.
    """
    bench = make_bench(**options)
    if command.supported(bench.lu):
        return bench
    for other in (make_bench(zones=FOUR_ZONES, **options), routed_bench(**options)):
        if command.supported(other.lu):
            return other
    streaming = make_bench(streams=SEVEN_STREAMS, **options)
    if command.supported(streaming.lu):
        return streaming
    return protected_bench(2, streams=SEVEN_STREAMS, **options)


def routed_bench(**options: Any) -> Bench:
    """Return a bench of two controllers, in target port groups 1 and 2, which leads by the first.

    Commands go to the same model whichever is in use.
    """
    bench = make_bench(**options)
    routes, facts = bench.lu.routes, bench.lu.facts
    routes.every = tuple(Route(group, facts, alive=lambda: True) for group in (1, 2))
    routes.active = routes.every[0]

    def activate(route: Route, asker: Nexus) -> None:
        routes.active, routes.change = route, AccessChange.EXPLICIT
        bench.lu.establish_attention(ASYMMETRIC_ACCESS_STATE_CHANGED, but=asker)

    routes.activate = activate
    return bench


def protected_bench(kind: int, *, offered: int = 0b111, **options: Any) -> Bench:
    """Return a bench of blocks with protection information of a type, and its formats `offered`.

    The nexus is one that tuples are moved to.
    """
    sizes = [(9, 8), (12, 8), (9, 0), (12, 0)]
    namespace = {
        "lbafs": b"".join(LBA_FORMAT.build(lbads=size, ms=ms) for size, ms in sizes),
        "nlbaf": len(sizes) - 1,
        "flbas": 0x10 if kind else 2,
        "dps": kind,
        "dpc": 0x10 | offered,
        "mc": 1,
    }
    bench = make_bench(namespace=namespace, **options)
    bench.nexus.delivery = ServiceDelivery(protection=True)
    return bench


def row(name: str) -> Command:
    """Return a row of the command table by its name."""
    from scsi2nvme import commands

    return next(each for each in commands.COMMANDS if each.name == name)


def refused_in_one_line(call: Callable[[], object], error: type[Exception]) -> str | None:
    """Call; return the words of the `error` that it raises, None if it raises none."""
    try:
        call()
    except error as raised:
        words = str(raised)
    else:
        return None
    assert "\n" not in words
    return words


def code(result: Result) -> SenseCode | None:
    """Return the sense code of a result."""
    return result.sense.code if result.sense is not None else None
