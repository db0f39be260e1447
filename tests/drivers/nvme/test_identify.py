"""Finding namespaces, with a controller played from a table."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.drivers.nvme import identify
from scsi2nvme.drivers.nvme.errors import StatusError, UnsupportedControllerError
from scsi2nvme.drivers.nvme.quirks import TABLE, Quirk, quirks_of
from scsi2nvme.nvme.ana import ANA_GROUP, ANA_HEADER, ANA_LOG, AnaState
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import (
    IDENTIFY_CONTROLLER,
    IDENTIFY_NAMESPACE,
    IDENTIFY_NVM_CONTROLLER,
    IDENTIFY_NVM_NAMESPACE,
    LBA_FORMAT,
    SMART_LOG,
)

UUID = bytes(range(1, 17))
NO_QUIRK = Quirk(0)
REFUSED = Completion(StatusCode.INVALID_FIELD, dnr=True)


def descriptor(kind: int, value: bytes) -> bytes:
    return bytes([kind, len(value), 0, 0]) + value


@dataclass
class Played:
    """Answers Identify from (CNS, NSID), the SMART log; whatever has no answer is refused."""

    answers: dict[tuple[int, int], bytes]
    asked: list[tuple[int, int]] = field(default_factory=list)
    critical_warning: int | None = 0

    async def execute(self, command: NvmeCommand) -> Completion:
        if command.opcode == AdminOpcode.GET_LOG_PAGE:
            if self.critical_warning is None:
                return REFUSED
            return Completion(data=SMART_LOG.build(critical_warning=self.critical_warning))
        key = (command.cdw10 & 0xFF, command.nsid)
        self.asked.append(key)
        answer = self.answers.get(key)
        return REFUSED if answer is None else Completion(data=answer.ljust(4096, b"\0"))


def namespaces(
    answers: dict[tuple[int, int], bytes],
    *,
    ver: int = 0x010400,
    quirks: Quirk = NO_QUIRK,
    nn: int = 4,
) -> tuple[dict[int, NamespaceFacts], Played]:
    controller = IDENTIFY_CONTROLLER.parse(IDENTIFY_CONTROLLER.build(ver=ver, nn=nn, mdts=3))
    played = Played(answers)
    found = asyncio.run(identify.read_namespaces(played.execute, controller, quirks))
    return found, played


def nsids(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)


def namespace(blocks: int, *, ms: int = 0, lbads: int = 12, **fields: int | bytes) -> bytes:
    lbafs = LBA_FORMAT.build(ms=ms, lbads=lbads)
    defaults: dict[str, int | bytes] = {"nsze": blocks, "ncap": blocks, "lbafs": lbafs}
    return IDENTIFY_NAMESPACE.build(**defaults | fields)


NAMESPACE = namespace(100, nguid=UUID, eui64=UUID[:8])


def test_active_namespaces_with_their_descriptors() -> None:
    found, _ = namespaces(
        {
            (2, 0): nsids(1, 3),
            (0, 1): NAMESPACE,
            (0, 3): namespace(7),
            (3, 3): descriptor(3, UUID) + descriptor(4, b"\0"),
            (6, 0): IDENTIFY_NVM_CONTROLLER.build(wzsl=4),
        }
    )
    assert sorted(found) == [1, 3]
    assert (found[1].nguid, found[1].eui64, found[1].uuid) == (UUID, UUID[:8], b"")
    assert (found[3].nguid, found[3].eui64, found[3].uuid) == (b"", b"", UUID)
    assert found[3].capacity_blocks == 7
    assert found[1].maximum_transfer_bytes == 32768
    assert found[1].nvm_controller.wzsl == 4


def test_without_list_every_nsid_is_tried() -> None:
    found, played = namespaces({(0, 2): NAMESPACE, (0, 3): namespace(1, ncap=0)})
    assert sorted(found) == [2]  # NCAP 0: inactive
    assert [key for key in played.asked if key[0] == 0] == [(0, n) for n in (1, 2, 3, 4)]


def test_old_controllers_are_not_asked_for_what_came_later() -> None:
    found, played = namespaces({(0, 1): NAMESPACE}, ver=0x010000)
    assert sorted(found) == [1]
    assert {cns for cns, _ in played.asked} <= {0, 6}


def test_long_lists_are_read_to_their_end() -> None:
    first = list(range(1, 1025))
    found, played = namespaces(
        {(2, 0): nsids(*first), (2, 1024): nsids(2000), (0, 2000): NAMESPACE}, nn=2000
    )
    assert sorted(found) == [2000]
    assert (2, 1024) in played.asked


def test_a_list_that_does_not_rise_ends() -> None:
    found, _ = namespaces({(2, 0): nsids(2, 2, 1), (0, 2): NAMESPACE, (0, 1): NAMESPACE})
    assert sorted(found) == [2]


@pytest.mark.parametrize(("csi", "words"), [(1, "key value"), (0x30, "another command set")])
def test_other_command_sets_are_left_out(
    csi: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    answers = {(2, 0): nsids(1), (0, 1): NAMESPACE, (3, 1): descriptor(4, bytes([csi]))}
    found, _ = namespaces(answers)
    assert found == {}
    assert words in caplog.text


def test_lists_that_do_not_end_are_left(caplog: pytest.LogCaptureFixture) -> None:
    """Not until there are no more NSIDs, which are four thousand million."""
    lists = 0

    async def execute(command: NvmeCommand) -> Completion:
        nonlocal lists
        if command.opcode != AdminOpcode.IDENTIFY or command.cdw10 & 0xFF != 2:
            return REFUSED
        lists += 1
        assert lists <= 16
        return Completion(data=nsids(*range(command.nsid + 1, command.nsid + 1025)))

    controller = IDENTIFY_CONTROLLER.parse(IDENTIFY_CONTROLLER.build(ver=0x010400, nn=0xFFFFFFFF))
    assert asyncio.run(identify.read_namespaces(execute, controller, NO_QUIRK)) == {}
    (line,) = caplog.messages
    assert line == "namespaces after 16384 are left out: there are too many"


def test_namespaces_that_there_cannot_be_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    found, played = namespaces({(2, 0): nsids(4, 5, 6), (0, 4): NAMESPACE, (0, 5): NAMESPACE})
    assert sorted(found) == [4]
    assert (0, 5) not in played.asked
    assert caplog.messages == ["namespaces from 5 on are left out: NN is 4"]


@pytest.mark.parametrize(
    ("told", "ncap", "nuse", "lines"),
    [
        ({"ncap": 101, "nuse": 7}, 100, 7, 1),
        ({"ncap": (1 << 64) - 1, "nuse": (1 << 64) - 1}, 100, 100, 1),
        ({"ncap": 50, "nuse": 51}, 50, 50, 0),
    ],
)
def test_sizes_agree(
    told: dict[str, int], ncap: int, nuse: int, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    found, _ = namespaces({(2, 0): nsids(1), (0, 1): namespace(100, **told)})
    raw = found[1].namespace
    assert (raw.nsze, raw.ncap, raw.nuse) == (100, ncap, nuse)
    assert len(caplog.messages) == lines


@pytest.mark.parametrize(
    ("blocks", "served"), [(1 << 51, True), ((1 << 51) + 1, False), ((1 << 64) - 1, False)]
)
def test_a_namespace_of_more_than_a_host_can_address(
    blocks: int, served: bool, caplog: pytest.LogCaptureFixture
) -> None:
    found, _ = namespaces({(2, 0): nsids(1), (0, 1): namespace(blocks)})
    assert bool(found) == served
    assert ("more than 2^63 bytes" in caplog.text) != served


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"sqes": 0x77}, "submission queue entries of 128 bytes, 64 wanted"),
        ({"sqes": 0x44}, "submission queue entries of 16 bytes, 64 wanted"),
        ({"sqes": 0x66, "cqes": 0x33}, "completion queue entries of 8 bytes, 16 wanted"),
        ({"sqes": 0x66, "cqes": 0x44}, ""),
        ({"sqes": 0x76, "cqes": 0xF4}, ""),
    ],
)
def test_queue_entries_of_a_size_that_is_not_ours(told: dict[str, int], words: str) -> None:
    played = Played({(1, 0): IDENTIFY_CONTROLLER.build(**told)})
    reading = identify.identify_controller(played.execute, NO_QUIRK, 256)
    if not words:
        assert asyncio.run(reading).sqes == told["sqes"]
        return
    with pytest.raises(UnsupportedControllerError, match=words):
        asyncio.run(reading)


@pytest.mark.parametrize("dps", [1, 2, 3, 0xB])
@pytest.mark.parametrize(("extended_format", "usable"), [(0, True), (1, False), (0x80, False)])
def test_protection_information_that_the_controller_keeps(
    dps: int, extended_format: int, usable: bool
) -> None:
    answers = {
        (2, 0): nsids(1),
        (0, 1): namespace(9, ms=8, dps=dps),
        (5, 1): IDENTIFY_NVM_NAMESPACE.build(elbafs=extended_format.to_bytes(4, "little")),
    }
    controller = IDENTIFY_CONTROLLER.build(ver=0x020000, nn=1, ctratt=1 << 15)
    played = Played(answers)
    reading = identify.read_namespaces(
        played.execute, IDENTIFY_CONTROLLER.parse(controller), NO_QUIRK
    )
    assert sorted(asyncio.run(reading)) == [1] * usable
    found, played = namespaces(answers)  # there are no other formats
    assert sorted(found) == [1]
    assert (5, 1) not in played.asked


def test_what_cannot_be_reached_is_what_it_was() -> None:
    """A log that cannot be read now is no reason to take it for gone."""
    raw = IDENTIFY_CONTROLLER.build(ver=0x010400, nn=1, mdts=3, cmic=8, nanagrpid=1)
    controller = IDENTIFY_CONTROLLER.parse(raw)
    played = Played({(2, 0): nsids(1), (0, 1): NAMESPACE})

    def found(log: Completion, known: dict[int, NamespaceFacts]) -> dict[int, NamespaceFacts]:
        async def execute(command: NvmeCommand) -> Completion:
            if command.opcode == AdminOpcode.GET_LOG_PAGE and command.cdw10 & 0xFF == ANA_LOG:
                return log
            return await played.execute(command)

        return asyncio.run(identify.read_namespaces(execute, controller, NO_QUIRK, known))

    def told(state: AnaState) -> Completion:
        return Completion(data=ANA_HEADER.build(ngrps=1) + ANA_GROUP.build(state=state))

    before = found(told(AnaState.OPTIMIZED), {})
    played.answers[0, 1] = bytes(4096)  # capacity fields are cleared
    after = found(told(AnaState.INACCESSIBLE), before)
    assert after[1].ana_state is AnaState.INACCESSIBLE
    assert after[1].namespace.raw == before[1].namespace.raw
    assert not found(told(AnaState.INACCESSIBLE), {})
    with pytest.raises(StatusError):
        found(Completion(StatusCode.INTERNAL_ERROR), after)


def test_inactive_namespaces_are_left_out_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    found, _ = namespaces({(0, 1): NAMESPACE, (0, 2): bytes(4096)})
    assert sorted(found) == [1]
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (namespace(9, ms=8), "8 bytes of metadata each"),
        (namespace(9, dps=1), "0 bytes of metadata, with protection information"),
        (namespace(9, ms=16, dps=1), "16 bytes of metadata, with protection information"),
        (namespace(9, ms=8, dps=4), "of type 4"),
        (namespace(9, ncap=0), "no capacity"),
        (namespace(9, lbads=8), "2^8 bytes"),
        (namespace(9, lbads=255), "2^255 bytes"),
        (namespace(9, flbas=1), "LBA format 1 does not exist"),
        (namespace(9, flbas=2, nulbaf=1), "LBA format 2 does not exist"),
        (namespace(9, flbas=0xFF, nlbaf=255), "LBA format 63|2^0 bytes"),
    ],
)
def test_namespaces_that_this_driver_cannot_drive(
    data: bytes, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    found, _ = namespaces({(2, 0): nsids(1, 2), (0, 1): data, (0, 2): NAMESPACE})
    assert sorted(found) == [2]
    assert any(word in caplog.text for word in words.split("|"))


@given(st.binary(max_size=256))
def test_identify_data_of_any_bytes(data: bytes) -> None:
    found, _ = namespaces({(2, 0): nsids(1), (0, 1): data, (3, 1): data, (6, 0): data})
    for facts in found.values():
        assert 512 <= facts.block_bytes <= 65536
        assert facts.capacity_blocks >= 0


def test_bogus_identifiers_are_dropped() -> None:
    answers = {(2, 0): nsids(1), (0, 1): NAMESPACE, (3, 1): descriptor(3, UUID)}
    found, _ = namespaces(answers, quirks=Quirk.BOGUS_IDENTIFIERS)
    assert (found[1].nguid, found[1].eui64, found[1].uuid) == (b"", b"", b"")


def test_no_descriptors_quirk() -> None:
    answers = {(2, 0): nsids(1), (0, 1): NAMESPACE, (3, 1): descriptor(3, UUID)}
    found, played = namespaces(answers, quirks=Quirk.NO_DESCRIPTORS)
    assert found[1].uuid == b""
    assert (3, 1) not in played.asked


@given(st.binary(max_size=200))
def test_descriptors_of_any_bytes(data: bytes) -> None:
    found = identify.parse_descriptors(data)
    assert len(found.uuid) in (0, 16)
    assert len(found.nguid) in (0, 16)
    assert len(found.eui64) in (0, 8)


def test_a_malformed_descriptor_ends_the_list() -> None:
    data = descriptor(1, UUID[:8]) + bytes([3, 15, 0, 0]) + UUID + descriptor(2, UUID)
    assert identify.parse_descriptors(data) == identify.Descriptors(eui64=UUID[:8])


def test_no_write_zeroes_quirk_hides_the_bit() -> None:
    identity = IDENTIFY_CONTROLLER.build(oncs=0x5D)
    for quirks, oncs in ((NO_QUIRK, 0x5D), (Quirk.NO_WRITE_ZEROES, 0x55)):
        played = Played({(1, 0): identity})
        found = asyncio.run(identify.identify_controller(played.execute, quirks, 256))
        assert found.oncs == oncs


@pytest.mark.parametrize(("depth", "fuses"), [(2, 0), (3, 1)])
def test_a_fused_pair_needs_room_for_two(depth: int, fuses: int) -> None:
    played = Played({(1, 0): IDENTIFY_CONTROLLER.build(fuses=1)})
    found = asyncio.run(identify.identify_controller(played.execute, NO_QUIRK, depth))
    assert found.fuses == fuses


@pytest.mark.parametrize(
    ("warning", "read_only"), [(0, False), (0xF7, False), (8, True), (None, False)]
)
def test_a_medium_in_read_only_mode(warning: int | None, read_only: bool) -> None:
    controller = IDENTIFY_CONTROLLER.parse(IDENTIFY_CONTROLLER.build(ver=0x010400, nn=4))

    def facts(told: int | None) -> NamespaceFacts:
        played = Played({(2, 0): nsids(1), (0, 1): NAMESPACE}, critical_warning=told)
        return asyncio.run(identify.read_namespaces(played.execute, controller, NO_QUIRK))[1]

    assert facts(warning).medium_read_only == read_only
    assert identify.same_namespace(facts(0), facts(warning)) != read_only


@pytest.mark.parametrize(
    ("lbads", "mdts", "usable"), [(13, 1, True), (14, 1, False), (16, 3, False), (16, 0, True)]
)
def test_a_command_must_carry_a_block(lbads: int, mdts: int, usable: bool) -> None:
    controller = IDENTIFY_CONTROLLER.parse(IDENTIFY_CONTROLLER.build(ver=0x010400, mdts=mdts))
    played = Played({(2, 0): nsids(1), (0, 1): namespace(100, lbads=lbads)})
    found = asyncio.run(identify.read_namespaces(played.execute, controller, NO_QUIRK))
    assert bool(found) == usable


def test_a_namespace_without_blocks_is_left_out() -> None:
    found, _ = namespaces({(2, 0): nsids(1), (0, 1): namespace(0, ncap=1)})
    assert found == {}


def test_nuse_is_no_change() -> None:
    answers = {(2, 0): nsids(1), (0, 1): NAMESPACE}
    one = namespaces(answers)[0][1]
    answers[0, 1] = namespace(100, nuse=9, nguid=UUID, eui64=UUID[:8])
    assert identify.same_namespace(one, namespaces(answers)[0][1])
    answers[0, 1] = namespace(101, nguid=UUID, eui64=UUID[:8])
    assert not identify.same_namespace(one, namespaces(answers)[0][1])


def test_quirks_add_up_over_rows() -> None:
    assert quirks_of((0x144D, 0xA822)) == (
        Quirk.SLOW_DISABLE | Quirk.SMALL_QUEUES | Quirk.NO_WRITE_ZEROES
    )
    assert quirks_of((0, 0)) == NO_QUIRK
    assert all(row.devices and row.quirk for row in TABLE)


@pytest.mark.parametrize("nguid", [b"", UUID])
def test_what_is_another_namespace_and_what_has_other_blocks(nguid: bytes) -> None:
    lba_formats = LBA_FORMAT.build(lbads=9) + LBA_FORMAT.build(lbads=12)

    def one(nguid: bytes = nguid, **values: int) -> NamespaceFacts:
        fields = {"nsze": 8, "ncap": 8, "nlbaf": 1, "lbafs": int.from_bytes(lba_formats, "little")}
        data = IDENTIFY_NAMESPACE.parse(IDENTIFY_NAMESPACE.build(**{**fields, **values}))
        controller = IDENTIFY_CONTROLLER.parse(bytes(4096))
        return NamespaceFacts(1, controller, data, 4096, nguid=nguid)

    old = {1: one()}
    for now, other, moved in (
        ({1: one()}, False, False),
        ({1: one(), 2: one()}, False, False),
        ({1: one(nuse=5)}, False, False),
        ({}, True, True),
        ({1: one(UUID[::-1])}, True, True),
        ({1: one(flbas=1)}, False, True),
        ({1: one(flbas=1 << 4)}, False, True),
        ({1: one(dps=1)}, False, True),
        ({1: one(nsze=9)}, False, not nguid),  # nothing else tells that it is not another
    ):
        assert identify.displaced(old, now, blocks=False) == (frozenset({1}) if other else set())
        assert identify.displaced(old, now, blocks=True) == (frozenset({1}) if moved else set())
