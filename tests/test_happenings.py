"""What has happened, numbered, bounded, and waited for."""

from __future__ import annotations

import asyncio
import logging

import pytest

from scsi2nvme import happenings
from scsi2nvme.happenings import Happenings


def texts(some: Happenings, number: int) -> tuple[list[str], int]:
    found, lost = some.after(number)
    return [each.text for each in found], lost


def test_the_latest_are_kept_and_the_others_are_counted() -> None:
    some = Happenings(most=3)
    for number in range(1, 6):
        some.note("kind", f"{number}", {})
    assert texts(some, 0) == (["3", "4", "5"], 2)
    assert texts(some, 1) == (["3", "4", "5"], 1)
    assert texts(some, 3) == (["4", "5"], 0)
    assert texts(some, 5) == ([], 0)


def test_a_number_of_a_former_daemon_is_none() -> None:
    some = Happenings()
    some.note("kind", "new", {})
    assert texts(some, 9) == (["new"], 0)


def test_what_json_readers_refuse_is_not_told() -> None:
    some = Happenings()
    some.note("kind", "a\nb", {"initiator": "c\x00\udc80"})
    ((one,), _) = some.after(0)
    assert (one.text, one.about) == ("a\\x0ab", {"initiator": "c\\x00\\xdc80"})


def test_what_happens_often_leaves_what_happens_seldom() -> None:
    """Whoever is refused again and again hides neither a disk's failures nor their order."""
    some = Happenings(most=3)
    some.note("login", "first", {})
    for number in range(2, 9):
        some.note("refusal", f"{number}", {})
    some.note("medium-error", "last", {})
    assert texts(some, 0) == (["first", "6", "7", "8", "last"], 4)
    assert texts(some, 7) == (["8", "last"], 0)


def test_the_next_one_is_waited_for() -> None:
    some = Happenings()

    async def waits() -> None:
        both = asyncio.gather(some.wait(0, 30), some.wait(0, 30))
        await asyncio.sleep(0)
        some.note("kind", "text", {})
        some.note("kind", "text", {})
        await both
        await some.wait(0, 30)  # it is there
        await some.wait(2, 0.001)  # nothing comes
        assert some.last == 2

    asyncio.run(asyncio.wait_for(waits(), 10))


def test_the_log_has_the_same_words(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = Happenings()
    monkeypatch.setattr(happenings, "HAPPENINGS", some)
    log = logging.getLogger("test")
    happenings.tell(log, logging.WARNING, "kind", "%s and %d", "one", 2, disk="three")
    happenings.tell(log, logging.DEBUG, "kind", "nobody reads the log of this")
    assert caplog.messages == ["one and 2"]
    assert texts(some, 0)[0] == ["one and 2", "nobody reads the log of this"]
    assert some.after(0)[0][0].about == {"disk": "three"}
