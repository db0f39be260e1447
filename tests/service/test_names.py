"""No two disks have one name, and no disk has two."""

from __future__ import annotations

import pytest

from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.service.names import Claim, Identity, Verdict, judge
from tests.service.bench import TUR, Bench, told
from tests.support import make_facts

OWN, MODEL, NONE = Verdict.OWN, Verdict.MODEL, Verdict.NONE
SUBNQN = b"nqn.2014-08.org.nvmexpress:uuid:12345678".ljust(256, b"\0")
ANONYMOUS = {"nguid": bytes(16), "eui64": bytes(8)}


def disk(serial: str = "A", model: str = "M", **options: object) -> NamespaceFacts:
    """Return a namespace; those of any two have equal NGUIDs and EUI-64s unless told otherwise."""
    controller = {"sn": serial.encode().ljust(20), "mn": model.encode().ljust(40)}
    controller |= options.pop("controller", {})  # type: ignore[call-overload]
    return make_facts(controller=controller, **options)  # type: ignore[arg-type]


def port(number: int, **values: object) -> NamespaceFacts:
    """Return a namespace as one controller of a dual-ported disk shows it."""
    return disk(controller={"subnqn": SUBNQN, "cmic": 2, "cntlid": number} | values)


def verdicts(*facts: NamespaceFacts, ambiguous: tuple[int, ...] = ()) -> list[Verdict]:
    told: list[str] = []
    claims = [Claim(f"disk {n}", Identity.of(each), n in ambiguous) for n, each in enumerate(facts)]
    found = judge(claims, told.append)
    assert bool(told) == any(v is not OWN for n, v in enumerate(found) if n not in ambiguous)
    return found


def other(serial: str, **identifiers: bytes) -> NamespaceFacts:
    return disk(serial, namespace=identifiers)


@pytest.mark.parametrize(
    "second",
    [
        disk("B"),
        disk("A", "another model"),
        other("B", nguid=bytes(16)),  # only the EUI-64 is equal
        other("B", eui64=b"\x02" * 8),  # only the NGUID is
    ],
)
def test_equal_identifiers_do_not_count_for_either(second: NamespaceFacts) -> None:
    assert verdicts(disk("A"), second) == [MODEL, MODEL]


def test_half_of_a_name_that_initiators_go_by_counts() -> None:
    """The low 36 bits of the EUI-64 are in it, and the controller's OUI."""
    first = other("A", nguid=b"\x01" * 16, eui64=bytes.fromhex("1122334455667788"))
    high = other("B", nguid=b"\x02" * 16, eui64=bytes.fromhex("9922335455667788"))
    low = other("B", nguid=b"\x02" * 16, eui64=bytes.fromhex("1122334455667789"))
    assert verdicts(first, high) == [MODEL, MODEL]
    assert verdicts(first, low) == [OWN, OWN]


def test_others_keep_their_names() -> None:
    stranger = other("C", nguid=b"\x03" * 16, eui64=b"\x03" * 8)
    assert verdicts(disk("A"), stranger, disk("B")) == [MODEL, OWN, MODEL]
    assert verdicts(disk("A"), disk("B"), disk("C")) == [MODEL, MODEL, MODEL]


def test_of_what_cannot_be_told_apart_the_first_is_served_under_its_own_name() -> None:
    assert verdicts(disk(), disk()) == [OWN, NONE]
    assert verdicts(disk(), disk(), disk("B")) == [MODEL, NONE, MODEL]


def test_without_identifiers_model_and_serial_number_have_to_differ() -> None:
    assert verdicts(other("A", **ANONYMOUS), other("B", **ANONYMOUS)) == [OWN, OWN]
    assert verdicts(other("A", **ANONYMOUS), other("A", **ANONYMOUS)) == [OWN, NONE]


def test_only_what_is_in_the_name_makes_models_differ() -> None:
    long = "a long model name, "
    assert verdicts(disk("A", long + "X"), disk("A", long + "Y")) == [OWN, NONE]


def test_what_has_fallen_back_meets_what_never_had_identifiers() -> None:
    assert verdicts(disk("A"), other("A", **ANONYMOUS), disk("B")) == [MODEL, NONE, MODEL]


def test_namespaces_of_one_controller_may_not_share_identifiers_either() -> None:
    assert verdicts(disk(nsid=1), disk(nsid=2)) == [MODEL, MODEL]


def test_a_dual_ported_disk_is_one_disk() -> None:
    assert verdicts(port(1), port(2)) == [OWN, OWN]


@pytest.mark.parametrize("values", [{"cntlid": 1}, {"cmic": 0}, {"subnqn": bytes(256)}])
def test_a_copy_is_no_second_port(values: dict[str, object]) -> None:
    assert verdicts(port(1), port(2, **values)) == [OWN, NONE]


def test_what_was_ambiguous_stays_so() -> None:
    assert verdicts(disk("A"), ambiguous=(0,)) == [MODEL]
    assert verdicts(disk("A"), other("A", **ANONYMOUS), ambiguous=(0,)) == [MODEL, NONE]


@told
async def test_a_name_that_turns_out_to_be_anothers_changes(bench: Bench) -> None:
    before = bench.lu.identity
    key = bench.lu.state_key
    bench.service.judged(bench.lu, OWN)
    assert bench.lu.identity == before
    bench.service.judged(bench.lu, MODEL)
    assert bench.lu.identity == "SN0001-1"
    assert bench.lu.state_key == key
    assert (await bench.run(TUR)).sense == (6, 0x3F, 0x03)
    bench.service.judged(bench.lu, MODEL)
    assert (await bench.run(TUR)).status == 0
    bench.service.judged(bench.lu, NONE)
    assert (await bench.run(TUR)).status == 2
