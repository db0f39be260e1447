"""Metrics for Prometheus, as its own client library reads them."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, closing
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from scsi2nvme.api import methods
from scsi2nvme.api.configuration import ConfigFile
from scsi2nvme.api.rpc import plain
from scsi2nvme.api.statistics import STATISTICS, AllCounts
from scsi2nvme.cli import config
from scsi2nvme.cli.daemon import health, metrics
from scsi2nvme.cli.daemon.health import Health
from scsi2nvme.cli.daemon.metrics.families import ROWS, Seen
from scsi2nvme.cli.daemon.metrics.server import MOST, MetricsServer
from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.client import Client
from scsi2nvme.fields import Values
from scsi2nvme.nvme.structures import SMART_LOG
from scsi2nvme.target.portal_address import PortalAddress
from tests.cli.workers import BLOCK, Worker
from tests.daemon import IQN, Daemon, free_port
from tests.support import row
from tests.waiting import until

MONITORING = Path(__file__).parents[2] / "docs/monitoring"
FREE = PortalAddress("127.0.0.1", 0)
UNREADABLE = 9
DISK = (
    f"emulated:memory,size=64M,fault=read:status=2/81:lba={UNREADABLE}-{UNREADABLE},"
    "health=temperature:44,health=sensor-2:-5,health=spare:7,health=used:93,health=media-errors:3,"
    "health=power-on-hours:2"
)
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Served:
    """A daemon with metrics."""

    def __init__(self, daemon: Daemon, port: int) -> None:
        self.daemon = daemon
        self.port = port

    def get(self, path: str = "/metrics") -> tuple[int, str]:
        """Return the status and the text that are found at a path."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def samples(self) -> Samples:
        """Return every sample."""
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.get()[1])
            for sample in family.samples
        }


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    port = free_port()
    arguments = ("--metrics", f"127.0.0.1:{port}")
    with Daemon(tmp_path_factory.mktemp("daemon"), DISK, arguments=arguments) as daemon:
        yield Served(daemon, port)


async def nobody_is_ill() -> tuple[Health, ...]:
    return ()


def total(samples: Samples, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples that have these labels."""
    return sum(
        value
        for (found, its), value in samples.items()
        if found == name and its >= frozenset(labels.items())
    )


def test_metrics_are_the_initiators_own_counts(served: Served) -> None:
    with ExitStack() as stack:
        workers = [Worker(served.daemon, f"iqn.2026-11.test:{name}", IQN) for name in "ab"]
        for worker in workers:
            stack.enter_context(worker.initiator)
            worker.initiator.hear()
        before = served.samples()
        for step in range(150):
            for number, worker in enumerate(workers):
                worker.read(0, 1000 + step, 1 + step % (7 + number))
                worker.write(0, 2000 + step, 1 + step % 5)
        now = served.samples()
    duration = "scsi2nvme_command_duration_seconds_count"
    for kind, at in (("read", 0), ("write", 2)):
        operations = sum(worker.counted[at] for worker in workers)
        size = sum(worker.counted[at + 1] for worker in workers)
        assert total(now, duration, kind=kind) - total(before, duration, kind=kind) == operations
        moved = "scsi2nvme_bytes_total"
        assert total(now, moved, kind=kind) - total(before, moved, kind=kind) == size
        for worker in workers:
            who = {"initiator": worker.initiator.name, "kind": kind}
            assert total(now, "scsi2nvme_session_commands_total", **who) == worker.counted[at]
            assert total(now, "scsi2nvme_session_bytes_total", **who) == worker.counted[at + 1]


def test_buckets_are_cumulative_and_end_with_all(served: Served) -> None:
    with Worker(served.daemon, "iqn.2026-11.test:c", IQN).initiator as one:
        one.hear()
        samples = served.samples()
    name = "scsi2nvme_command_duration_seconds"
    found = {
        float(dict(labels)["le"]): value
        for (metric, labels), value in samples.items()
        if metric == f"{name}_bucket" and ("kind", "other") in labels
    }
    counts = [found[end] for end in sorted(found)]
    assert counts == sorted(counts)
    assert counts[-1] == total(samples, f"{name}_count", kind="other") > 0
    assert min(found) == 16e-6
    assert total(samples, f"{name}_sum", kind="other") > 0


def test_failures_have_names(served: Served) -> None:
    with Worker(served.daemon, "iqn.2026-11.test:d", IQN).initiator as one:
        one.hear()
        cdb = row("READ (10)").build(lba=UNREADABLE, transfer_length=1)
        assert one.command(0, cdb, data_in=BLOCK).status == 2
        samples = served.samples()
    told = {"status": "CHECK CONDITION", "sense_key": "MEDIUM ERROR", "additional_sense": "11/00"}
    assert total(samples, "scsi2nvme_failed_commands_total", **told) == 1


def test_health_is_that_of_the_smart_log(served: Served) -> None:
    samples = served.samples()
    prefix = "scsi2nvme_"
    temperatures = {
        dict(labels)["sensor"]: value
        for (name, labels), value in samples.items()
        if name == f"{prefix}temperature_celsius"
    }
    assert temperatures == {"composite": 44, "1": 44, "2": -5}
    assert total(samples, f"{prefix}critical_warning", warning="spare") == 1
    assert total(samples, f"{prefix}critical_warning") == 1
    assert total(samples, f"{prefix}available_spare_ratio") == 0.07
    assert total(samples, f"{prefix}available_spare_threshold_ratio") == 0.1
    assert total(samples, f"{prefix}percentage_used_ratio") == 0.93
    assert total(samples, f"{prefix}media_errors_total") >= 3
    assert total(samples, f"{prefix}power_on_seconds_total") == 7200
    assert 0 <= total(samples, f"{prefix}smart_age_seconds") < health.STALE_S


class FakeController:
    """One that tells how it is when it is let."""

    def __init__(self, temperature: int, *, answers: bool) -> None:
        self.commands = self
        self.answers = asyncio.Event()
        self.asked = 0
        self.temperature = temperature
        if answers:
            self.answers.set()

    async def smart_log(self) -> Values:
        self.asked += 1
        await self.answers.wait()
        return SMART_LOG.parse(SMART_LOG.build(temperature=self.temperature))


def test_a_controller_that_hangs_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PATIENCE_S", 0.05)

    async def work() -> None:
        now = 1000.0
        well, hung = FakeController(300, answers=True), FakeController(310, answers=True)
        served: Any = [
            SimpleNamespace(controller=each, names=(name,))
            for name, each in (("well", well), ("hung", hung))
        ]
        reader = health.HealthReader(served, lambda: now)

        async def told() -> dict[str, float]:
            return {one.controller: one.age_s for one in await reader.look()}

        assert await told() == {"well": 0, "hung": 0}
        hung.answers.clear()
        now += health.FRESH_S / 2
        assert await told() == {"well": 5, "hung": 5}
        assert (well.asked, hung.asked) == (1, 1)
        now += health.FRESH_S
        assert await told() == {"well": 0, "hung": 15}
        assert await told() == {"well": 0, "hung": 15}
        assert hung.asked == 2  # and not again while it does not answer
        now += health.STALE_S
        assert await told() == {"well": 0}
        hung.answers.set()
        assert await told() == {"well": 0, "hung": 0}
        del served[0]
        assert await told() == {"hung": 0}
        await reader.stop()

    asyncio.run(work())


def test_controllers_of_one_spec_are_one_sample() -> None:
    states = [{"DevicePath": "emulated:memory", "State": "live"}] * 2
    row = next(each for each in ROWS if each.name == "scsi2nvme_controller_state")
    (sample,) = row.metric(Seen(AllCounts(0, (), ()), {"Controllers": states})).samples
    assert sample.value == 2


@pytest.mark.parametrize("name", ["grafana.json", "alerts.yaml"])
def test_what_is_drawn_and_watched_is_exported(served: Served, name: str) -> None:
    with Worker(served.daemon, "iqn.2026-11.test:e", IQN).initiator as one:
        one.hear()
        exported = {metric for metric, _ in served.samples()}
        families = text_string_to_metric_families(served.get()[1])
        exported |= {family.name for family in families}  # of which there may be no samples here
        labels = {key for _, its in served.samples() for key, _ in its}
    text = (MONITORING / name).read_text()
    named = set(re.findall(r"\b(?:scsi2nvme|process)_[a-z_]+", text))
    assert named
    assert named <= exported
    grouped = re.findall(r"by \(([a-z_, ]+)\)", text)
    by_labels = {label for group in grouped for label in group.split(", ")}
    assert by_labels - {"job", "instance"} <= labels


def test_the_board_is_one(served: Served) -> None:
    board = json.loads((MONITORING / "grafana.json").read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert all(panel["targets"] for panel in board["panels"])


def test_the_guide_names_every_metric(served: Served) -> None:
    told = set(re.findall(r"`(\w+)`", (MONITORING.parent / "watching.md").read_text()))
    families = text_string_to_metric_families(served.get()[1])
    names = {family.name for family in families if family.name.startswith("scsi2nvme_")}
    assert {name for name in names if not {name, f"{name}_total"} & told} == set()


# The page


def test_the_page_has_all_of_its_own(served: Served) -> None:
    status, text = served.get("/")
    assert status == 200
    assert not re.search(r"(?:src|href)=|https?:", text)
    assert 'fetch("status.json"' in text


def test_what_the_page_shows_is_what_others_are_told(served: Served) -> None:
    with Worker(served.daemon, "iqn.2026-11.test:f", IQN).initiator as one:
        one.hear()
        told = json.loads(served.get("/status.json")[1])
        with Client(served.daemon.state_dir / "control.sock") as daemon:
            counts, listed = daemon.call(STATISTICS), daemon.call(methods.SHOW)
            (health,) = daemon.call(methods.HEALTH)
    assert told["listed"] == listed
    (shown,) = told["health"]
    assert shown | {"age_s": 0} == json.loads(json.dumps(plain(replace(health, age_s=0))))
    assert (health.temperature_celsius, health.percent_used, health.media_errors) == (44, 93, 3)
    assert health.warnings == ("spare",)
    assert told["counts"]["units"] == json.loads(json.dumps(plain(counts.units)))
    assert told["counts"]["sessions"] == json.loads(json.dumps(plain(counts.sessions)))


@pytest.mark.parametrize(
    ("method", "path", "host", "status"),
    [
        ("GET", "/nothing", "127.0.0.1", 404),
        ("POST", "/", "127.0.0.1", 405),
        ("GET", "/", "localhost:9465", 200),
        ("GET", "/", "[::1]:9465", 200),
        ("GET", "/status.json", "evil.example", 403),
        ("GET", "/metrics", "storage.example:9465", 200),
    ],
)
def test_who_may_look_at_what(
    served: Served, method: str, path: str, host: str, status: int
) -> None:
    connection = HTTPConnection("127.0.0.1", served.port, timeout=10)
    with closing(connection):
        connection.request(method, path, headers={"Host": host})
        assert connection.getresponse().status == status


# Who asks


def test_who_says_nothing_keeps_nobody_waiting(served: Served) -> None:
    with ExitStack() as stack:
        for _ in range(MOST - 1):
            silent = socket.create_connection(("127.0.0.1", served.port))
            stack.enter_context(silent)
        assert served.get()[0] == 200
        silent = socket.create_connection(("127.0.0.1", served.port), timeout=10)
        stack.enter_context(silent)
        # One more than there are threads is told so by the end of its connection.
        until(lambda: _closed_at_once(served.port), "one too many was refused")
    until(lambda: not _closed_at_once(served.port), "threads were free again")


def _closed_at_once(port: int) -> bool:
    """Whether a connection is closed without a word, as nobody is there to serve it."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
        one.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        try:
            return one.recv(1) == b""
        except ConnectionResetError:
            return True


def test_an_address_that_is_taken_is_told() -> None:
    async def both() -> None:
        first = MetricsServer(FREE, lambda environ, start: [])
        try:
            with pytest.raises(OperationError, match=f"metrics {first.address}: Address already"):
                MetricsServer(first.address, lambda environ, start: [])
        finally:
            first.stop()

    asyncio.run(both())


def test_others_than_this_host_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    async def start(address: PortalAddress) -> None:
        async with AsyncExitStack() as stack:
            metrics.start(address, lambda: AllCounts(0, (), ()), dict, nobody_is_ill, stack)

    asyncio.run(start(FREE))
    asyncio.run(start(PortalAddress("::1", 0)))
    assert caplog.text == ""
    asyncio.run(start(PortalAddress("0.0.0.0", 0)))
    assert "whoever reaches 0.0.0.0:" in caplog.text


def test_without_the_library_it_says_how_to_come_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(f"{metrics.__name__}.")]:
        monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr(metrics, name.rpartition(".")[2], raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    async def start() -> None:
        async with AsyncExitStack() as stack:
            metrics.start(FREE, lambda: AllCounts(0, (), ()), dict, nobody_is_ill, stack)

    with pytest.raises(OperationError, match=r"prometheus-client; run: .*prometheus-client"):
        asyncio.run(start())


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("127.0.0.1", PortalAddress("127.0.0.1", 9465)),
        ("[::1]:80", PortalAddress("::1", 80)),
    ],
)
def test_an_address_is_given(tmp_path: Path, text: str, meant: PortalAddress) -> None:
    file = ConfigFile(metrics="127.0.0.1:1")
    told = config.settings(
        file,
        default_state_dir=tmp_path,
        maximum_reactors=1,
        controllers=(DISK,),
        metrics=text,
    )
    assert told.metrics == meant


def test_an_address_that_is_none_is_refused(tmp_path: Path) -> None:
    file = ConfigFile(metrics="everywhere")
    with pytest.raises(UsageError, match=r"^metrics 'everywhere': "):
        config.settings(file, default_state_dir=tmp_path, maximum_reactors=1, controllers=(DISK,))
