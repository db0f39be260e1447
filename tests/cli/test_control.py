"""The control socket and the state directory's lock."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import select
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.api import methods, rpc
from scsi2nvme.api.method import Method, Nothing
from scsi2nvme.api.table import METHODS
from scsi2nvme.cli.control import ask, socket_path
from scsi2nvme.cli.daemon import control
from scsi2nvme.cli.daemon.control import CLIENTS, Answers, ControlServer, StateDirectory
from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.client import Client, NoAnswer, RpcError, short
from tests.support import refused_in_one_line
from tests.waiting import until


def answers() -> Answers:
    """Return what answers as much as is looked at here."""

    async def show(_: Nothing) -> dict[str, Any]:
        return {"who": "daemon"}

    async def reset(which: methods.WhichController) -> None:
        if which.controller == "breaks":
            raise RuntimeError("a bug")
        raise OperationError(f"not {which.controller} today")

    async def read(which: methods.WhichStructure) -> str:
        raise UsageError(f"no namespace {which.nsid}")

    async def sessions(_: Nothing) -> list[methods.Session]:
        return [methods.Session("iqn.2026-11.test:a", "00", "", 1)]

    told = Answers(absent={"kernel.exports": "no kernel"})
    told.add(methods.SHOW, show)
    told.add(methods.RESET, reset)
    told.add(methods.READ, read)
    told.add(methods.SESSIONS, sessions)
    return told


def with_server(directory: Path, client: Callable[[], Any], group: int | None = None) -> Any:
    """Run a blocking client beside a server."""

    async def both() -> Any:
        held = StateDirectory(directory)
        server = ControlServer(held, answers(), group)
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
        with suppress(BrokenPipeError, ConnectionResetError):  # it is refused before it is all read
            client.sendall(sent)
        with client.makefile("rb") as stream:
            return stream.readline()


def show(directory: Path) -> Any:
    return ask(directory, methods.SHOW)


def test_a_request_is_answered(tmp_path: Path) -> None:
    assert with_server(tmp_path, lambda: show(tmp_path)) == {"who": "daemon"}


def test_an_answer_has_its_type(tmp_path: Path) -> None:
    found = with_server(tmp_path, lambda: ask(tmp_path, methods.SESSIONS))
    assert found == [methods.Session("iqn.2026-11.test:a", "00", "", 1)]


def test_a_refusal_comes_back_as_its_line(tmp_path: Path) -> None:
    which = methods.WhichController("7")
    with pytest.raises(OperationError, match=r"^not 7 today$"):
        with_server(tmp_path, lambda: ask(tmp_path, methods.RESET, which))


def test_one_connection_may_ask_again_and_again(tmp_path: Path) -> None:
    def client() -> list[Any]:
        with Client(socket_path(tmp_path)) as daemon:
            first = daemon.call(methods.SHOW)
            with pytest.raises(RpcError, match="no kernel") as caught:
                daemon.call(methods.EXPORTS)
            return [first, caught.value.code, daemon.call(methods.SHOW)]

    told = {"who": "daemon"}
    assert with_server(tmp_path, client) == [told, rpc.IMPOSSIBLE, told]


def request(method: str = "daemon.show", **others: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, **others}


def read(params: object) -> dict[str, Any]:
    return request("controllers.read", params=params)


@pytest.mark.parametrize(
    ("sent", "code", "word"),
    [
        (b"nonsense\n", rpc.PARSE_ERROR, "no JSON"),
        (b"\xff\n", rpc.PARSE_ERROR, "no JSON"),
        (b"[" * 60_000 + b"\n", rpc.PARSE_ERROR, "nested too deeply"),
        (b'{"id": ' + b"9" * 5000 + b"}\n", rpc.PARSE_ERROR, "no JSON"),
        (b"x" * 200_000, rpc.INVALID_REQUEST, "too long"),
        (b"[]\n", rpc.INVALID_REQUEST, "a batch has 1 to 64 requests, not 0"),
        (rpc.line_of([1] * 65), rpc.INVALID_REQUEST, "not 65"),
        (b"7\n", rpc.INVALID_REQUEST, "is an integer"),
        (b'{"verb": "list"}\n', rpc.INVALID_REQUEST, "verb is unknown"),
        (rpc.line_of(request(id=[])), rpc.INVALID_REQUEST, "id: is no string or integer"),
        (rpc.line_of(request(id=1.5)), rpc.INVALID_REQUEST, "id: is no string or integer"),
        (rpc.line_of(request(id=True)), rpc.INVALID_REQUEST, "id: is no string or integer"),
        (rpc.line_of(request(jsonrpc="1.0")), rpc.INVALID_REQUEST, "jsonrpc"),
        (rpc.line_of(request("dance")), rpc.METHOD_NOT_FOUND, "no method 'dance'"),
        (rpc.line_of(request(params=3)), rpc.INVALID_PARAMS, "params"),
        (rpc.line_of(request(params=[1])), rpc.INVALID_PARAMS, "params: 1, not 0 at most"),
        (rpc.line_of(read({"structure": "x"})), rpc.INVALID_PARAMS, "controller is missing"),
        (rpc.line_of(read(["x", "0"])), rpc.INVALID_PARAMS, "structure: is not"),
        (rpc.line_of(read(["id-ns", "0", "1"])), rpc.INVALID_PARAMS, "nsid: is a string"),
        (rpc.line_of(read(["id-ns", "0", 7])), rpc.INVALID_PARAMS, "no namespace 7"),
        (rpc.line_of(request("kernel.exports")), rpc.IMPOSSIBLE, "no kernel"),
        (rpc.line_of(request("sessions.end", params=["x"])), rpc.IMPOSSIBLE, "not served here"),
    ],
)
def test_what_is_not_answered_is_refused_by_a_code_and_a_line(
    tmp_path: Path, sent: bytes, code: int, word: str
) -> None:
    told = json.loads(with_server(tmp_path, lambda: raw(tmp_path, sent)))
    assert (told["jsonrpc"], told["error"]["code"]) == ("2.0", code)
    assert word in told["error"]["message"]
    assert "\n" not in told["error"]["message"]


def test_a_bug_costs_its_request_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sent = rpc.line_of([request("controllers.reset", params=["breaks"]), request(id="a")])
    broken, whole = json.loads(with_server(tmp_path, lambda: raw(tmp_path, sent)))
    assert broken["error"]["code"] == rpc.INTERNAL_ERROR
    assert whole == {"jsonrpc": "2.0", "id": "a", "result": {"who": "daemon"}}
    assert "a bug" in caplog.text


def test_what_wants_no_answer_gets_none(tmp_path: Path) -> None:
    quiet = {"jsonrpc": "2.0", "method": "daemon.show"}
    wrong = {"jsonrpc": "2.0", "method": "dance"}
    sent = rpc.line_of(quiet) + rpc.line_of([wrong, quiet]) + rpc.line_of([quiet, request(id=5)])
    answer = json.loads(with_server(tmp_path, lambda: raw(tmp_path, sent)))
    assert answer == [{"jsonrpc": "2.0", "id": 5, "result": {"who": "daemon"}}]


def test_who_may_only_look_changes_nothing() -> None:
    async def refusal(method: Method[Any, Any], *, looks_only: bool) -> int:
        with pytest.raises(RpcError) as caught:
            await Answers().give(method.name, {}, looks_only=looks_only)
        return caught.value.code

    async def main() -> None:
        for method in METHODS:
            refused = await refusal(method, looks_only=True)
            assert (refused == rpc.FORBIDDEN) == method.restricted, method.name
            assert await refusal(method, looks_only=False) != rpc.FORBIDDEN

    asyncio.run(main())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_members_of_the_group_may_look(tmp_path: Path) -> None:
    """A process of another user, with the group alone, in a directory that others may not list."""
    group, stranger = 65533, 65532
    state = tmp_path / "state"
    for each in (tmp_path, *list(tmp_path.parents)[:-2]):
        each.chmod(each.stat().st_mode | 0o011)
    messages = [request(), request("controllers.reset", params=["7"])]

    def asked(gid: int) -> str:
        script = (
            "import socket, sys\n"
            "with socket.socket(socket.AF_UNIX) as one:\n"
            f" one.connect({str(socket_path(state))!r})\n"
            f" one.sendall({rpc.line_of(messages)!r})\n"
            " print(one.makefile().readline())\n"
        )
        done = subprocess.run(
            ["/usr/bin/python3", "-c", script],
            capture_output=True,
            text=True,
            user=stranger,
            group=gid,
            extra_groups=[],
        )
        return done.stdout or done.stderr

    member, other = with_server(state, lambda: (asked(group), asked(65531)), group)
    looked, changed = json.loads(member)
    assert looked["result"] == {"who": "daemon"}
    assert changed["error"]["code"] == rpc.FORBIDDEN
    assert "PermissionError" in other


def test_who_may_not_even_look_is_told_who_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed(socket.socket):
        def connect(self, address: Any) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("scsi2nvme.client.socket.socket", Closed)
    with pytest.raises(OperationError, match=r"Permission denied; .* root .* its control_group$"):
        show(tmp_path)


def test_no_more_programs_ask_at_a_time_than_are_told(tmp_path: Path) -> None:
    """One too many is told, and has its place once another has gone."""

    def client() -> Any:
        with ExitStack() as stack:
            first = stack.enter_context(Client(socket_path(tmp_path)))
            assert first.call(methods.SHOW)
            for _ in range(CLIENTS - 1):
                assert stack.enter_context(Client(socket_path(tmp_path))).call(methods.SHOW)
            with pytest.raises(OperationError, match="too many programs"):
                show(tmp_path)
            assert first.call(methods.SHOW)
            first.close()
            until(lambda: _shown(tmp_path), "there is a place again")
            return show(tmp_path)

    assert with_server(tmp_path, client) == {"who": "daemon"}


def _shown(directory: Path) -> Any:
    try:
        return show(directory)
    except OperationError:
        return None


def test_who_is_refused_before_it_asks_learns_why(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.create_server(str(path), family=socket.AF_UNIX) as listener, Client(path) as client:
        with listener.accept()[0] as daemon:
            refusal = rpc.refusal(None, RpcError(rpc.IMPOSSIBLE, "too many programs ask"))
            daemon.sendall(rpc.line_of(refusal))
        with pytest.raises(RpcError, match=r"^too many programs ask$"):
            client.call(methods.SHOW)
        with pytest.raises(NoAnswer, match=r"^the daemon hung up; see its messages$"):
            client.call(methods.SHOW)


def test_a_daemon_that_ends_instead_of_answering_has_hung_up(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.create_server(str(path), family=socket.AF_UNIX) as listener, Client(path) as client:

        def end_it() -> None:
            with listener.accept()[0] as daemon:
                daemon.recv(1)  # what is left unread makes it a reset

        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(end_it)
            with pytest.raises(NoAnswer, match=r"^the daemon hung up; see its messages$"):
                client.call(methods.SHOW)
            ended.result()


def test_a_client_that_leaves_early_harms_nobody(tmp_path: Path) -> None:
    def client() -> Any:
        with socket.socket(socket.AF_UNIX) as early:
            early.connect(str(socket_path(tmp_path)))
            early.sendall(b'{"jsonrpc": "2.0"')
        return show(tmp_path)

    assert with_server(tmp_path, client) == {"who": "daemon"}


def test_who_takes_no_answers_and_goes_has_no_connection_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one may not have more than so many of would else be had without end."""
    monkeypatch.setattr(control, "CLOSING_S", 0.05)
    request_line = b'{"jsonrpc": "2.0", "id": 1, "method": "%s"}\n' % (b"x" * 40_000)

    def client() -> Any:
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(socket_path(tmp_path)))
            room = one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            for _ in range(room // 40_000 + 1):  # more than the system takes, and little more
                one.sendall(request_line)
            one.shutdown(socket.SHUT_WR)
            hung_up = select.poll()
            hung_up.register(one, 0)
            assert hung_up.poll(10_000) == [(one.fileno(), select.POLLHUP)]
        return show(tmp_path)

    assert with_server(tmp_path, client) == {"who": "daemon"}


def test_a_client_that_stays_until_the_end_is_no_news(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:

        def stays() -> None:
            client = stack.enter_context(Client(socket_path(tmp_path)))
            client.call(methods.SHOW)

        with_server(tmp_path, stays)
    assert caplog.text == ""


def test_only_the_owner_may_connect(tmp_path: Path) -> None:
    mode = with_server(tmp_path, lambda: socket_path(tmp_path).stat().st_mode)
    assert mode & 0o077 == 0


def test_without_a_daemon_the_message_says_so(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="no scsi2nvme is running"):
        show(tmp_path)


def test_a_socket_left_by_a_crash_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_path(tmp_path)))
    with pytest.raises(OperationError, match="no scsi2nvme is running"):
        show(tmp_path)
    assert with_server(tmp_path, lambda: show(tmp_path)) == {"who": "daemon"}


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
            refused_in_one_line(lambda: show(directory), OperationError)


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


def test_a_lock_is_held_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    first = StateDirectory(tmp_path)
    with pytest.raises(OperationError, match=r"in use by another scsi2nvme \(process unknown\)"):
        StateDirectory(tmp_path)
    first.close()
    StateDirectory(tmp_path).close()


def test_a_path_that_fits_needs_no_current_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> str:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(os, "getcwd", gone)
    assert short(Path("/" + "x" * 106)) == "/" + "x" * 106
    with pytest.raises(FileNotFoundError):
        short(Path("/" + "x" * 107))
