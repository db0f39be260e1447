"""The daemon and its front ends: what is configured is started, asked and ended."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Container, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.api import methods
from scsi2nvme.api.configuration import ConfigFile
from scsi2nvme.api.method import Method, Nothing
from scsi2nvme.api.methods import Session
from scsi2nvme.cli.config import Settings, settings
from scsi2nvme.cli.control import ask
from scsi2nvme.cli.daemon import serve
from scsi2nvme.cli.daemon.control import Answers
from scsi2nvme.cli.daemon.front_ends import FRONT_ENDS, iscsi, tcmu
from scsi2nvme.cli.daemon.front_ends.front_end import (
    FrontEnd,
    FrontEndRecord,
    Prospect,
    Served,
    Serving,
)
from scsi2nvme.cli.daemon.front_ends.iscsi.portal import IscsiFrontEnd
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.drivers.nvme import controller
from scsi2nvme.drivers.nvme.events import ControllerEvent
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.target.iscsi.negotiation import Negotiation
from scsi2nvme.target.iscsi.portal import connection_parameters
from scsi2nvme.unit.logical_unit import LogicalUnit


class Recorded:
    """A front end that notes what it is told."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.told: list[object] = []

    def answer(self, answers: Answers) -> None:
        async def knock(_: Nothing) -> list[Session]:
            return [Session("who is there", "", "", 0)]

        answers.add(methods.SESSIONS, knock)

    async def start(self, stack: AsyncExitStack) -> None:
        self.told.append("start")
        stack.callback(self.told.append, "end")

    async def renew(self, units: Container[LogicalUnit]) -> None:
        (served,) = self.serving.served
        self.told.append([nsid for nsid, lu in served.units.items() if lu in units])

    async def follow_inventory(self) -> None:
        self.told.append("inventory")

    def check_leaving(self, one: Served) -> None:
        self.told.append("check")

    async def leave(self, one: Served) -> None:
        self.told.append(one.number)

    def check(self, settings: Settings, prospect: Prospect) -> None:
        self.told.append(prospect)

    async def configure(self, settings: Settings) -> None:
        self.told.append(settings)

    def status(self) -> Mapping[str, Any]:
        return {"Knocks": 3}

    def greeting(self) -> Iterator[str]:
        yield "Knock."

    def farewell(self) -> Iterator[str]:
        yield "nobody waits"


NOBODY = FrontEndRecord(
    2, lambda serving: None, idle={"Bells": 0}, absent={"kernel.exports": "no bell"}
)


def settings_of(directory: Path) -> Settings:
    given = settings(
        ConfigFile(),
        default_state_dir=directory,
        maximum_reactors=1,
        controllers=("emulated:memory,size=64M,namespaces=2",),
        reactors=1,
    )
    return replace(given, portals=())


def test_a_front_end_of_any_kind_is_started_asked_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Recorded] = []

    def build(serving: Serving) -> FrontEnd:
        built.append(Recorded(serving))
        return built[0]

    monkeypatch.setattr(serve, "FRONT_ENDS", (FrontEndRecord(1, build), NOBODY))

    async def main() -> None:
        async with AsyncExitStack() as stack:
            daemon = await serve.Daemon.start(settings_of(tmp_path), stack)
            assert list(daemon.greeting()) == ["Knock.", "Ready. Ctrl-C ends it."]
            assert list(daemon.farewell()) == ["Ending; nobody waits."]
            monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
            assert list(daemon.greeting()) == ["Knock.", "Ready."]

            async def answer(method: Method[Any, Any], *params: Any) -> Any:
                return await asyncio.to_thread(ask, tmp_path, method, *params)

            listed = await answer(methods.SHOW)
            assert (len(listed["Devices"]), listed["Knocks"], listed["Bells"]) == (2, 3, 0)
            assert await answer(methods.SESSIONS) == [Session("who is there", "", "", 0)]
            with pytest.raises(OperationError, match="no bell"):
                await answer(methods.EXPORTS)
            with pytest.raises(OperationError, match=r"sessions\.end: not served here"):
                await answer(methods.END_SESSION, methods.WhichSession("x"))
            (served,) = daemon.served
            assert served.controller.on_event is not None
            revoked: list[object] = []
            monkeypatch.setattr(served.units[1].rods, "changed", revoked.append)
            served.controller.on_event(ControllerEvent(2, 0, 4, namespaces=frozenset({1})))
            assert revoked == [None]  # at once, whenever the rest is followed
            served.controller.on_event(ControllerEvent(0, 0, 0, returned=True))
            await daemon.controllers._background.wait()
            assert built[0].told == ["start", [1, 2]]

    asyncio.run(main())
    assert built[0].told == ["start", [1, 2], "end"]


def test_a_controller_without_namespaces_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def none(*arguments: object) -> dict[int, NamespaceFacts]:
        return {}

    monkeypatch.setattr(controller, "read_namespaces", none)

    async def main() -> None:
        async with AsyncExitStack() as stack:
            daemon = await serve.Daemon.start(settings_of(tmp_path), stack)
            assert not daemon.served[0].units

    asyncio.run(main())
    assert "no namespace that can be served" in caplog.text


@pytest.mark.parametrize(("ping", "timeout"), [(30, 30), (5, 0), (0, 7)])
def test_a_portal_pings_as_it_is_told(tmp_path: Path, ping: int, timeout: int) -> None:
    config = ConfigFile(ping_s=ping, ping_timeout_s=timeout)
    given = settings(
        config,
        default_state_dir=tmp_path,
        maximum_reactors=1,
        controllers=("emulated:memory,size=64M",),
    )

    async def main() -> None:
        async with AsyncExitStack() as stack:
            daemon = await serve.Daemon.start(replace(given, portals=()), stack)
            front_end = IscsiFrontEnd(Serving(given, daemon.service, daemon.served))
            values = Negotiation({}).values
            told = connection_parameters(values, 8192, front_end._portal.settings)
            assert (told.ping_ms, told.ping_timeout_ms) == (1000 * ping, 1000 * timeout)

    asyncio.run(main())


def test_what_is_not_configured_is_not_loaded() -> None:
    script = (
        "import sys; import scsi2nvme.cli.daemon.serve; "
        "print([name for name in sys.modules if name.startswith("
        "('scsi2nvme.target.iscsi', 'scsi2nvme.target.tcmu', 'tomllib'))])"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_kernel_is_served_before_initiators_may_log_in() -> None:
    assert FRONT_ENDS == (tcmu.FRONT_END, iscsi.FRONT_END)
