"""Events of a daemon, by the control API and by `events`."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.api import methods
from scsi2nvme.api.events import EVENTS, SUBSCRIBE, Event, Events, Lost, Since, WhichEvents
from scsi2nvme.cli.daemon import happening
from scsi2nvme.cli.daemon.control import Answers, ControlServer, StateDirectory
from scsi2nvme.client import Client, NoAnswer
from scsi2nvme.happenings import Happenings
from tests.cli.workers import BLOCK, Worker
from tests.daemon import IQN, MEMORY, PROGRAM, Daemon
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
            assert made_anew.text == f"{DISK}: controller reset: asked for"
        ended = after(5)
        assert [each.kind for each in ended.events] == ["session-end"]
        assert (ended.lost, ended.last) == (0, 6)
        assert running.log.read_text() == ""
        with Client(tmp_path / "control.sock") as follower:
            told = follower.subscribe(SUBSCRIBE, Since(5))
            assert next(told) == ended.events[0]
        where = ("--state-dir", str(tmp_path), "--no-follow")
        assert main(["events", *where, "--last", "2", "--json"]) == 0
        shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [each["kind"] for each in shown] == ["controller-reset", "session-end"]
        assert main(["events", *where, "--last", "1"]) == 0
        assert ended.events[0].text in capsys.readouterr().out
        with pytest.raises(ValueError, match="wait_s"):
            after(0, 31.0)


def test_events_are_followed_until_the_daemon_ends(tmp_path: Path) -> None:
    """By the verb, as it is run, and on one connection."""
    command = [*PROGRAM, "events", "--follow", "--last", "1", "--state-dir", str(tmp_path)]
    pipe = subprocess.PIPE
    with Daemon(tmp_path, MEMORY) as running, ExitStack() as stack:
        for number in range(2):
            with Initiator(("127.0.0.1", running.port)) as one, pytest.raises(LoginError):
                one.login(f"iqn.2026-11.test:none-{number}")
        following = stack.enter_context(
            subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
        )
        stack.callback(following.kill)
        assert following.stdout is not None
        assert following.stderr is not None
        assert "none-1" in following.stdout.readline()
        with Initiator(("127.0.0.1", running.port), name=NAME) as one:
            one.login(IQN)
            assert f"login of {NAME} to {IQN}" in following.stdout.readline()
        running.stop()
        assert following.wait(30) == 1
        assert following.stderr.read().endswith("the daemon has ended\n")


def with_happenings(
    monkeypatch: pytest.MonkeyPatch, directory: Path, most: int, client: Callable[[Happenings], Any]
) -> Any:
    """Run a coroutine function beside a control socket that tells of happenings of its own."""
    some = Happenings(most)
    monkeypatch.setattr(happening, "HAPPENINGS", some)

    async def both() -> Any:
        held, answers = StateDirectory(directory), Answers()
        happening.answer(answers)
        server = ControlServer(held, answers)
        await server.start()
        try:
            return await asyncio.wait_for(client(some), 30)
        finally:
            await server.stop()
            held.close()

    return asyncio.run(both())


def test_who_reads_too_slowly_is_told_how_much_he_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon keeps as much as it ever does, and the connection what its buffers hold."""
    most, many, text = 8, 4000, "x" * 1000

    async def client(some: Happenings) -> list[Event | Lost]:
        with Client(tmp_path / "control.sock") as follower:
            told = follower.subscribe(SUBSCRIBE)
            # Before the first one is asked for, that is subscribed to nothing.
            first = asyncio.create_task(asyncio.to_thread(next, told))
            while not some._waiting:
                await asyncio.sleep(0)
            for _ in range(many):
                some.note("kind", text, {})
                await asyncio.sleep(0)
            heard = [await first]
            while not isinstance(heard[-1], Event) or heard[-1].number < many:
                heard.append(await asyncio.to_thread(next, told))
            return heard

    heard = with_happenings(monkeypatch, tmp_path, most, client)
    numbers = [one.number for one in heard if isinstance(one, Event)]
    missed = sum(one.lost for one in heard if isinstance(one, Lost))
    assert missed
    assert len(numbers) + missed == many
    at = 0
    for one in heard:  # each number is told, or counted where it is missing
        at += one.lost if isinstance(one, Lost) else 1
        assert isinstance(one, Lost) or one.number == at


def test_a_connection_has_one_subscription_and_is_answered_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def client(some: Happenings) -> None:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "control.sock"))

        async def heard(*requests: dict[str, Any]) -> Any:
            for each in requests:
                writer.write(json.dumps({"jsonrpc": "2.0", **each}).encode() + b"\n")
            return json.loads(await reader.readline())

        subscribe = {"id": 1, "method": "events.subscribe"}
        assert (await heard(subscribe))["result"] == {"last": 0}
        negative = {**subscribe, "params": {"after": -1}}
        assert "after: is less than 0" in (await heard(negative))["error"]["message"]
        assert "subscription already" in (await heard(subscribe))["error"]["message"]
        assert (await heard({"id": 2, "method": "events"}))["result"]["events"] == []
        some.note("kind", "text", {"disk": "one"})
        told = await heard()
        assert (told["jsonrpc"], told["method"], "id" in told) == ("2.0", "event", False)
        assert told["params"]["about"] == {"disk": "one"}
        writer.close()
        while some._waiting:
            await asyncio.sleep(0)

    with_happenings(monkeypatch, tmp_path, 8, client)


def test_what_makes_no_sense_is_no_daemon_s_word(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor() as pool:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(b'{"jsonrpc": "2.0", "id": 1, "result": {"last": 0}}\n{"method": 1}\n')

        serving = pool.submit(serve)
        with Client(path) as follower, pytest.raises(NoAnswer, match="no word of a daemon"):
            next(follower.subscribe(SUBSCRIBE))
        serving.result()
