"""`persistent-event-log`: what it asks for, and that it leaves nothing established."""

from __future__ import annotations

from pathlib import Path

import pytest

from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.passing import asking
from scsi2nvme.cli.passing.conversation import heard
from scsi2nvme.cli.verbs.passing import rows
from scsi2nvme.nvme.command import Completion, NvmeCommand
from scsi2nvme.nvme.log_structures import PERSISTENT_EVENT, PERSISTENT_EVENT_HEADER
from scsi2nvme.nvme.status import StatusCode
from tests.cli.played import given, played


def test_persistent_events_are_read_as_a_whole() -> None:
    event = PERSISTENT_EVENT.build(
        event_type=4, event_header_len=21, event_len=8, event_timestamp=77
    ) + bytes(range(8))
    log = PERSISTENT_EVENT_HEADER.build(
        lid=0xD, total_num_of_events=2, total_log_len=512 + 2 * len(event)
    )
    log += 2 * event

    def answer(command: NvmeCommand) -> Completion:
        return Completion(data=log[command.cdw12 :][: command.data_in].ljust(command.data_in))

    asked, shown = played("persistent-event-log -o json", answer)
    assert [command.cdw10 >> 8 & 3 for command in asked] == [1, 0, 2]
    entries = shown.json["list_of_event_entries"]
    assert [(each["event_type"], each["event_timestamp"]) for each in entries] == [(4, 77)] * 2
    assert entries[0]["data"] == bytes(range(8)).hex()
    assert shown.raw == log


def test_a_log_of_events_that_lies_about_itself_ends() -> None:
    log = PERSISTENT_EVENT_HEADER.build(total_num_of_events=0xFFFFFFFF, total_log_len=1 << 60)
    actions: list[int] = []

    def answer(command: NvmeCommand) -> Completion:
        actions.append(command.cdw10 >> 8 & 3)
        return Completion(data=log[: command.data_in])

    with pytest.raises(OperationError, match="at most"):
        played("persistent-event-log", answer)
    assert actions == [1, 2]  # what was established is released


def test_what_fails_half_way_releases_events() -> None:
    log = PERSISTENT_EVENT_HEADER.build(total_log_len=8192)
    actions: list[int] = []

    def answer(command: NvmeCommand) -> Completion:
        actions.append(command.cdw10 >> 8 & 3)
        failed = 0 if actions[-1] == 1 else StatusCode.INTERNAL_ERROR
        return Completion(failed, data=log[: command.data_in])

    with pytest.raises(OperationError, match="Internal Error"):
        played("persistent-event-log", answer)
    assert actions == [1, 0, 2]


def test_who_interrupts_releases_events(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    actions: list[int] = []

    def answers(command: NvmeCommand, *daemon: object, force: bool) -> Completion:
        actions.append(command.cdw10 >> 8 & 3)
        if not actions[-1]:
            raise KeyboardInterrupt
        return Completion(data=PERSISTENT_EVENT_HEADER.build(total_log_len=8192))

    monkeypatch.setattr(asking, "_daemon_answers", answers)
    arguments = given("persistent-event-log 0")
    (one,) = (each for each in rows() if each.name == "persistent-event-log")
    with pytest.raises(KeyboardInterrupt):
        asking.of_daemon(heard(one.converse(arguments), print), tmp_path, "0", force=False)
    assert actions == [1, 0, 2]


def test_what_is_shorter_than_an_events_header_is_no_event() -> None:
    log = PERSISTENT_EVENT_HEADER.build(total_num_of_events=0xFFFFFFFF, total_log_len=512 + 4096)
    log += bytes(4096)

    def answer(command: NvmeCommand) -> Completion:
        return Completion(data=log[command.cdw12 :][: command.data_in].ljust(command.data_in))

    _, shown = played("persistent-event-log -o json", answer)
    assert shown.json["list_of_event_entries"] == []
