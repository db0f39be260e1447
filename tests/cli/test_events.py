"""Events of a daemon, by the control API and by `events`."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.api import methods
from scsi2nvme.api.events import EVENTS, Events, WhichEvents
from scsi2nvme.client import Client
from tests.cli.workers import BLOCK, Worker
from tests.daemon import IQN, Daemon
from tests.iscsi_client import Initiator, LoginError
from tests.support import row

NAME = "iqn.2026-11.test:a"
DISK = "emulated:memory,size=64M,serial=S,fault=read:status=2/81:lba=7-7"
LOGICAL_UNIT_RESET = 5


def test_what_happens_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At a log level that has nothing of it."""
    arguments = ("--log-level", "error")
    with (
        Daemon(tmp_path, DISK, arguments=arguments) as running,
        Client(tmp_path / "control.sock") as client,
        ThreadPoolExecutor() as pool,
    ):

        def after(number: int, wait_s: float = 20.0) -> Events:
            return client.call(EVENTS, WhichEvents(number, wait_s))

        assert after(0, 0.0) == Events((), 0, 0)
        waiting = pool.submit(after, 0)
        with Worker(running, NAME, IQN).initiator as one:
            (login,) = waiting.result().events
            assert (login.number, login.kind) == (1, "login")
            assert login.about == {"initiator": NAME, "target": IQN, "address": "127.0.0.1"}
            one.hear()
            cdb = row("READ (10)").build(lba=7, transfer_length=1)
            one.command(0, cdb, data_in=BLOCK)
            (failed,) = after(1).events
            assert failed.about == {"disk": "S", "namespace": "1", "initiator": NAME}
            one.task_management(LOGICAL_UNIT_RESET)
            (reset,) = after(2).events
            assert reset.kind == "unit-reset"
            with Initiator(("127.0.0.1", running.port)) as other, pytest.raises(LoginError):
                other.login("iqn.2026-11.test:nothing")
            (refusal,) = after(3).events
            assert refusal.kind == "refusal"
            client.call(methods.RESET, methods.WhichController("0"))
            (made_anew,) = after(4).events
            assert made_anew.kind == "controller-reset"
            assert made_anew.about == {"controller": DISK}
            assert made_anew.text == "emulated:memory: controller reset: asked for"
        ended = after(5)
        assert [each.kind for each in ended.events] == ["session-end"]
        assert (ended.lost, ended.last) == (0, 6)
        assert running.log.read_text() == ""
        where = ("--state-dir", str(tmp_path), "--no-follow")
        assert main(["events", *where, "--last", "2", "--json"]) == 0
        shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [each["kind"] for each in shown] == ["controller-reset", "session-end"]
        assert main(["events", *where, "--last", "1"]) == 0
        assert ended.events[0].text in capsys.readouterr().out
        with pytest.raises(ValueError, match="wait_s"):
            after(0, 31.0)
