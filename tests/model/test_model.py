"""The logical unit held against a simple model of a disk for some steps; `make model` for more."""

from __future__ import annotations

import hashlib
import random
import re
import threading
import time
from pathlib import Path

import pytest

from scsi2nvme.commands import COMMANDS
from scsi2nvme.nvme.command import Opcode
from tests.integration.rig import RIGS
from tests.model.judgement import Judge, Luck, Outcome, Wrong
from tests.model.machine import CAPACITY, Initiators
from tests.model.medium import Medium
from tests.model.requests import OTHERS, ROWS, Request, Wish, request_of
from tests.model.run import _Delays, _play, initiators, march, run
from tests.model.ways import BLOCK_BYTES, WAYS, Bed, Disturbance
from tests.support import make_lu, row

STEPS = 250


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", RIGS)
def test_initiators_are_told_the_truth(kind: str, way: str, tmp_path: Path) -> None:
    with initiators(kind, way, tmp_path) as subject:
        run(subject, STEPS, random.SystemRandom().randrange(1 << 32))


@pytest.mark.parametrize("way", WAYS)
def test_seeds_choose_as_well(way: str, tmp_path: Path) -> None:
    with initiators("emulated", way, tmp_path) as subject:
        march(subject, STEPS, random.SystemRandom().randrange(1 << 32))


def test_steps_that_a_failure_does_not_need_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **values: int) -> None:
        raise Wrong("it cannot be")

    monkeypatch.setattr(Initiators, "setting", fail)
    lines: list[str] = []
    with (
        initiators("emulated", "engine", tmp_path) as subject,
        pytest.raises(Wrong, match="it cannot be"),
    ):
        march(subject, 2000, 1, lines.append)
    assert re.fullmatch(r"seed \d+ fails at step \d+", lines[1])
    assert [line.split(":")[0].strip() for line in lines[2:]] == ["setting"]


@pytest.mark.parametrize(("delayed_s", "is_lost"), [(0.0, True), (1e6, False)])
def test_a_step_that_takes_long_has_lost_something_but_on_a_busy_machine(
    delayed_s: float, is_lost: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(*_: object, **values: int) -> None:
        time.sleep(0.35)

    monkeypatch.setattr(Initiators, "setting", sleep)
    monkeypatch.setattr("tests.model.run._LOST_S", 0.3)
    monkeypatch.setattr("tests.model.run._Delays.meanwhile_s", lambda self: delayed_s)
    steps = iter([("setting", {"initiator": 0, "bit": (8, 2, 2), "value": 1})])
    with initiators("emulated", "engine", tmp_path) as subject:
        if not is_lost:
            _play(subject, steps, [])
            return
        with pytest.raises(Wrong, match="something was lost"):
            _play(subject, steps, [])


def test_waiting_for_a_processor_is_counted() -> None:
    """More threads than processors, all busy: some must wait, and whoever sleeps does not."""
    delays = _Delays()
    delays.look()
    deadline = time.monotonic() + 30
    turns = [threading.Thread(target=_hash_until, args=(delays, deadline)) for _ in range(64)]
    for each in turns:
        each.start()
    for each in turns:
        each.join()
    assert delays.meanwhile_s() > 0


def _hash_until(delays: _Delays, deadline: float) -> None:
    """Keep a processor busy, without the interpreter's lock, until somebody had to wait."""
    while delays.meanwhile_s() <= 0 and time.monotonic() < deadline:
        hashlib.sha256(bytes(1 << 20)).digest()


def test_every_row_that_changes_blocks_is_known() -> None:
    """Of another kind, it wants a rule in `tests/model/requests.py` and `judgement.py`."""
    lu = make_lu(**FACTS)
    changing = {each.name for each in COMMANDS if each.modifies_medium and each.supported(lu)}
    assert changing <= {each.name for each in (*ROWS, *OTHERS)}


# ---- the judge finds what is wrong ----

FACTS = {"blocks": CAPACITY, "block_bytes": BLOCK_BYTES, "maximum_transfer_bytes": 4096}
CHECK, MEDIUM_ERROR, ABORTED_COMMAND, MISCOMPARE = 2, 3, 11, 14


def judge() -> Judge:
    return Judge(make_lu(**FACTS), Medium(BLOCK_BYTES), exact_unmap=True)


def request(one: Judge, name: str, blocks: int = 4, length: int = 0, **flags: int) -> Request:
    return request_of(Wish(row(name), 10, blocks, flags, (), length, 1, None), one.medium)


def reads(one: Judge, data: bytes) -> None:
    outcome = Outcome(0, data, overflow=0, underflow=0)
    one.settle([(request(one, "READ (10)", len(data) // BLOCK_BYTES), outcome)], Luck.GOOD)


def good(of: Request) -> tuple[Request, Outcome]:
    return of, Outcome(0, overflow=0, underflow=0)


def test_what_was_written_must_be_read() -> None:
    one = judge()
    write = request(one, "WRITE (10)")
    one.settle([good(write)], Luck.GOOD)
    reads(one, write.data_out)
    with pytest.raises(Wrong, match="block 12 is"):
        reads(one, write.data_out[: 2 * BLOCK_BYTES] + bytes(2 * BLOCK_BYTES))


def test_what_failed_is_old_or_new_but_new_before_information() -> None:
    old = bytes(BLOCK_BYTES)
    for information, first, wrong in ((12, True, "block 1[01]"), (None, False, "")):
        one = judge()
        write = request(one, "WRITE (10)")
        new = write.data_out[:BLOCK_BYTES]
        failed = Outcome(CHECK, key=MEDIUM_ERROR, information=information)
        one.settle([(write, failed)], Luck.BAD)
        if first:
            with pytest.raises(Wrong, match=wrong):
                reads(one, old)
        else:
            reads(one, old)
            with pytest.raises(Wrong):  # it was the old one, and stays so
                reads(one, new)


def test_a_pair_that_was_aborted_has_written_only_where_all_was_as_expected() -> None:
    """All of it must match: a block that does not keeps the others from being written."""
    for differs in (False, True):
        one = judge()
        pair = request(one, "COMPARE AND WRITE", blocks=2)
        lba, half = pair.lba, 2 * BLOCK_BYTES
        if differs:
            other = request_of(Wish(row("WRITE (10)"), lba + 1, 1, {}, (), 0, 7, None), one.medium)
            one.settle([good(other)], Luck.GOOD)
        before = one.medium.may_hold(lba)
        one.settle([(pair, Outcome(CHECK, key=ABORTED_COMMAND))], Luck.PAUSED)
        new = pair.data_out[half : half + BLOCK_BYTES]
        assert one.medium.may_hold(lba) == (before if differs else before | {new})


def test_nothing_fails_without_a_reason() -> None:
    one = judge()
    write = request(one, "WRITE (10)")
    with pytest.raises(Wrong, match="nothing is wrong with it"):
        one.settle([(write, Outcome(CHECK, key=MEDIUM_ERROR))], Luck.GOOD)


def test_what_must_be_refused_is_not_good() -> None:
    one = judge()
    part = request(one, "WRITE (10)", length=-1)
    with pytest.raises(Wrong, match="must be refused"):
        one.settle([good(part)], Luck.BAD)


def test_residual_counts_are_exact() -> None:
    one = judge()
    read = request(one, "READ (10)", length=-BLOCK_BYTES)
    data = bytes(3 * BLOCK_BYTES)
    one.settle([(read, Outcome(0, data, overflow=BLOCK_BYTES, underflow=0))], Luck.GOOD)
    with pytest.raises(Wrong, match="residual"):
        one.settle([(read, Outcome(0, data, overflow=0, underflow=0))], Luck.GOOD)


def test_a_miscompare_of_equal_data_is_wrong() -> None:
    one = judge()
    verify = request(one, "VERIFY (10)", bytchk=1)
    with pytest.raises(Wrong, match="miscompare"):
        one.settle([(verify, Outcome(CHECK, key=MISCOMPARE))], Luck.GOOD)


def test_what_was_written_may_differ_only_where_others_wrote() -> None:
    one = judge()
    verifying = request(one, "WRITE AND VERIFY (10)", bytchk=1)
    failed = verifying, Outcome(CHECK, key=MISCOMPARE)
    one.settle([failed, good(request(one, "WRITE (10)"))], Luck.GOOD)
    with pytest.raises(Wrong, match="nobody else"):
        one.settle([failed], Luck.GOOD)


def test_a_lost_write_is_found(tmp_path: Path) -> None:
    """The controller says of a Write that it was done, and it was not: the medium disagrees."""
    bed = Bed("emulated", tmp_path / "disk")
    way = WAYS["engine"](bed)
    try:
        one = Judge(bed.lu, Medium(BLOCK_BYTES), exact_unmap=True)
        assert bed.emulator is not None
        bed.emulator.add_fault(action=0, opcode=Opcode.WRITE, status=0, delay_ms=1)
        write = request(one, "WRITE (10)")
        (said,) = way.perform([write], Disturbance.NONE)
        one.settle([(write, said)], Luck.GOOD)
        read = request(one, "READ (10)")
        (seen,) = way.perform([read], Disturbance.NONE)
        with pytest.raises(Wrong, match="block 10 is"):
            one.settle([(read, seen)], Luck.GOOD)
    finally:
        way.close()
        bed.close()
