"""A running daemon that is asked, and changed, by its control socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.api import rpc
from scsi2nvme.api.methods import StructureName
from scsi2nvme.api.table import METHODS
from tests.daemon import IQN, MEMORY, Daemon, scsi2nvme
from tests.iscsi_client import Initiator


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with a disk in memory."""
    with Daemon(tmp_path, MEMORY) as running:
        yield running


def test_sessions_are_listed_and_ended(tmp_path: Path) -> None:
    with (
        Daemon(tmp_path, MEMORY) as running,
        Initiator(("127.0.0.1", running.port), name="iqn.2026-11.test:a") as one,
        Initiator(("127.0.0.1", running.port), name="iqn.2026-11.test:b") as other,
    ):
        where = ("--state-dir", str(running.state_dir))
        for each in (one, other):
            each.login(IQN)
        shown = json.loads(scsi2nvme("sessions", *where, "--json").stdout)
        assert {each["initiator"] for each in shown} == {one.name, other.name}
        assert "iqn.2026-11.test:b" in scsi2nvme("sessions", *where).stdout
        none = scsi2nvme("end-session", one.name, "--target", "iqn.2026-11.test:x", *where)
        assert (none.returncode, none.stdout) == (1, "")
        assert none.stderr == f"scsi2nvme: initiator '{one.name}' has no such session\n"
        done = scsi2nvme("end-session", one.name, "--target", IQN, *where)
        assert (done.returncode, done.stdout) == (0, "1 ended\n")
        assert one.closed_by_target()
        other.ping()
        (left,) = json.loads(scsi2nvme("sessions", *where, "--json").stdout)
        assert left["initiator"] == other.name
        assert "are ended by command" in running.log.read_text()


def test_the_log_level_is_changed_while_it_serves(tmp_path: Path) -> None:
    with Daemon(tmp_path, MEMORY) as running:
        where = ("--state-dir", str(running.state_dir))
        assert scsi2nvme("log-level", *where).stdout == "warning\n"
        assert scsi2nvme("log-level", "error", *where).stdout == "error\n"
        assert scsi2nvme("reset", "0", *where).returncode == 0
        assert running.log.read_text() == ""  # of the reset warnings would tell
        assert scsi2nvme("log-level", "info", *where).stdout == "info\n"
        assert scsi2nvme("reset", "0", *where).returncode == 0
        assert "controller reset" in running.log.read_text()


def test_whatever_is_asked_is_answered(daemon: Daemon) -> None:
    """On the control socket, by lines of any bytes and requests of any types."""
    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=4,
    )
    harmless = [method.name for method in METHODS if not method.changes]
    controllers, nsids = st.just("0") | json_values, json_values | st.integers(0, 1 << 70)
    structures = st.sampled_from(get_args(StructureName)) | json_values
    params = st.fixed_dictionaries(
        {}, optional={"controller": controllers, "nsid": nsids, "structure": structures}
    )
    requests = st.fixed_dictionaries(
        {
            "jsonrpc": st.just("2.0"),
            "id": st.integers() | st.text(),
            "method": st.sampled_from(harmless) | json_values,
        },
        optional={"params": params | json_values},
    )

    with socket.socket(socket.AF_UNIX) as client, client.makefile("rb") as stream:
        client.settimeout(60)
        client.connect(str(daemon.state_dir / "control.sock"))

        @hypothesis.settings(max_examples=100, deadline=None, database=None)
        @given(requests.map(lambda one: json.dumps(one).encode()) | st.binary())
        def ask(line: bytes) -> None:
            client.sendall(line.replace(b"\n", b"") + b"\n")
            answer = json.loads(stream.readline())
            assert answer["jsonrpc"] == "2.0"
            assert ("result" in answer) != ("error" in answer)
            if "error" in answer:
                assert answer["error"]["code"] != rpc.INTERNAL_ERROR
                assert "\n" not in answer["error"]["message"]

        ask()
    assert daemon.log.read_text() == ""
