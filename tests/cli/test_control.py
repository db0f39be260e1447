"""The control socket and the state directory's lock."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.cli.control import ask, socket_path
from scsi2nvme.cli.daemon.control import ControlServer, StateDirectory
from scsi2nvme.cli.errors import OperationError
from tests.support import refused_in_one_line


async def echo(request: Mapping[str, Any]) -> Any:
    if request["verb"] == "refuse":
        raise OperationError("not today")
    return dict(request)


def with_server(directory: Path, client: Callable[[], Any]) -> Any:
    """Run a blocking client beside a server."""

    async def both() -> Any:
        held = StateDirectory(directory)
        server = ControlServer(held, echo)
        await server.start()
        try:
            return await asyncio.to_thread(client)
        finally:
            await server.stop()
            held.close()

    return asyncio.run(both())


def raw(directory: Path, sent: bytes) -> bytes:
    """Send bytes, then read until the server hangs up or a line came."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(socket_path(directory)))
        client.sendall(sent)
        with client.makefile("rb") as stream:
            return stream.readline()


def test_a_request_is_answered(tmp_path: Path) -> None:
    answer = with_server(tmp_path, lambda: ask(tmp_path, {"verb": "x", "n": 1}))
    assert answer == {"verb": "x", "n": 1}


def test_a_refusal_comes_back_as_its_line(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="not today"):
        with_server(tmp_path, lambda: ask(tmp_path, {"verb": "refuse"}))


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        (b"nonsense\n", b"no JSON"),
        (b"[1]\n", b"no JSON object"),
        (b"\xff\n", b"no JSON"),
        (b"x" * 200_000, b"too long"),
        (b"[" * 60_000 + b"\n", b"nested too deeply"),
        (b'{"verb": ' + b"9" * 5000 + b"}\n", b"no JSON"),
    ],
)
def test_nonsense_is_answered_with_an_error(tmp_path: Path, sent: bytes, word: bytes) -> None:
    assert word in with_server(tmp_path, lambda: raw(tmp_path, sent))


def test_a_client_that_leaves_early_harms_nobody(tmp_path: Path) -> None:
    def client() -> Any:
        with socket.socket(socket.AF_UNIX) as early:
            early.connect(str(socket_path(tmp_path)))
            early.sendall(b'{"verb": "x"')
        return ask(tmp_path, {"verb": "y"})

    assert with_server(tmp_path, client) == {"verb": "y"}


def test_only_the_owner_may_connect(tmp_path: Path) -> None:
    mode = with_server(tmp_path, lambda: socket_path(tmp_path).stat().st_mode)
    assert mode & 0o077 == 0


def test_without_a_daemon_the_message_says_so(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="no scsi2nvme is running"):
        ask(tmp_path, {"verb": "x"})


def test_a_socket_left_by_a_crash_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_path(tmp_path)))
    with pytest.raises(OperationError, match="no scsi2nvme is running"):
        ask(tmp_path, {"verb": "x"})
    assert with_server(tmp_path, lambda: ask(tmp_path, {"verb": "x"})) == {"verb": "x"}


def test_a_state_directory_has_one_holder(tmp_path: Path) -> None:
    first = StateDirectory(tmp_path)
    with pytest.raises(OperationError, match="in use by another scsi2nvme") as caught:
        StateDirectory(tmp_path)
    assert "\n" not in str(caught.value)
    first.close()
    StateDirectory(tmp_path).close()


@hypothesis.settings(max_examples=30, deadline=None)
@given(st.binary().map(lambda line: line.replace(b"\n", b"")))
def test_any_answer_is_taken_or_refused_in_one_line(line: bytes) -> None:
    """Whatever listens there."""
    with TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as listener:
        directory = Path(name)
        listener.bind(str(socket_path(directory)))
        listener.listen()

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(line + b"\n")

        with ThreadPoolExecutor(1) as pool:
            pool.submit(answer)
            refused_in_one_line(lambda: ask(directory, {"verb": "x"}), OperationError)


def test_the_lock_is_not_taken_through_a_link(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("not yours")
    state = tmp_path / "state"
    state.mkdir()
    (state / "lock").symlink_to(other)
    with pytest.raises(OperationError, match="lock"):
        StateDirectory(state)
    assert other.read_text() == "not yours"


def test_whatever_the_lock_holds_its_holder_is_told(tmp_path: Path) -> None:
    first = StateDirectory(tmp_path)
    (tmp_path / "lock").write_bytes(b"\xff\n\n")
    with pytest.raises(OperationError, match=r"process unknown") as caught:
        StateDirectory(tmp_path)
    assert "\n" not in str(caught.value)
    first.close()


def test_a_state_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperationError, match="--state-dir"):
        StateDirectory(tmp_path / "file" / "state")
