"""The shell: the tree is what the daemon says, its commands are the API's, and scripts learn."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.api import methods
from scsi2nvme.api.table import METHODS
from scsi2nvme.cli import confirming, control
from scsi2nvme.cli.errors import FAILED, OperationError, UsageError
from scsi2nvme.cli.verbs.bind import binding as bind_verb
from scsi2nvme.cli.verbs.export import kernel_target
from scsi2nvme.cli.verbs.shell.disks import CONTROLLER
from scsi2nvme.cli.verbs.shell.kind import Kind, Place, View
from scsi2nvme.cli.verbs.shell.session import Node, Session
from scsi2nvme.drivers.host import binding as host_binding
from scsi2nvme.target.portal_address import PortalAddress
from scsi2nvme.target.tcmu.lio import Publication
from tests.daemon import IQN, PROGRAM, Daemon, free_port, targets
from tests.iscsi_client import Initiator

PAGE = Path(__file__).parents[2] / "docs/shell.md"
DISK = "emulated:memory,size=64M,namespaces=2,serial=S1"
HOST = "iqn.2026-11.test:host"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    directory = tmp_path_factory.mktemp("daemon")
    with Daemon(directory, config=targets(DISK)) as daemon:
        yield daemon


@pytest.fixture
def session(running: Daemon) -> Session:
    return Session(running.state_dir, yes=True)


@pytest.fixture
def host(running: Daemon) -> Iterator[Initiator]:
    """An initiator that has logged in."""
    with Initiator(("127.0.0.1", running.port), name=HOST) as one:
        one.login(IQN)
        yield one


def controllers(running: Daemon) -> list[str]:
    listed = control.ask(running.state_dir, methods.SHOW)
    return [each["DevicePath"] for each in listed["Controllers"]]


def plain(text: str, port: int) -> str:
    """Return what a recording and a run have in common: not the port, nor the dots."""
    return re.sub(r" \.* \[", " … [", text.replace(f":{port}", ":3260"))


def recorded() -> list[tuple[str, str, str]]:
    """Return the prompts, lines and outputs of the documentation's session."""
    (block,) = re.findall(r"^```\n(/> .*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    parts = re.split(r"^(/\S*)> (.*)\n", block, flags=re.MULTILINE)[1:]
    return list(zip(parts[::3], parts[1::3], parts[2::3], strict=True))


def test_the_documentation_s_session_is_one(
    running: Daemon,
    host: Initiator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Confirmations included: the person of the page says yes."""
    session = Session(running.state_dir)
    monkeypatch.setattr(confirming, "somebody_is_there", lambda: True)

    def agree(words: str) -> str:
        print(f"{words}y")
        return "y"

    monkeypatch.setattr("builtins.input", agree)
    session.prefs["color_mode"] = False
    for prompt, line, output in recorded():
        assert session.at(".").path == prompt
        session.run_cmdline(line)
        told = plain(capsys.readouterr().out, running.port)
        assert told == plain(output, running.port), line
    assert controllers(running) == [DISK]
    assert host.closed_by_target()


def test_what_a_script_says_is_not_asked_about(running: Daemon, host: Initiator) -> None:
    session = Session(running.state_dir)
    for line in (f"/iscsi/{IQN}/sessions end {HOST}", "/controllers/S1 remove"):
        with pytest.raises(OperationError, match="give --yes if that is meant"):
            session.run_cmdline(line)
    host.ping()
    assert controllers(running) == [DISK]


@pytest.mark.parametrize("answer", ["n", "", "no", "x"])
def test_who_says_no_keeps_what_there_is(
    running: Daemon, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    session = Session(running.state_dir)
    monkeypatch.setattr(confirming, "somebody_is_there", lambda: True)
    monkeypatch.setattr("builtins.input", lambda words: answer)
    with pytest.raises(OperationError, match="nothing was done"):
        session.run_cmdline("/controllers/S1 remove")
    assert controllers(running) == [DISK]


def test_a_session_is_ended_where_it_stands(session: Session, host: Initiator) -> None:
    session.look()
    (node,) = session.at(f"/iscsi/{IQN}/sessions").children
    session.run_cmdline(f"{node.path} end")
    assert host.closed_by_target()


def test_sessions_of_discovery_have_their_place(session: Session, running: Daemon) -> None:
    with Initiator(("127.0.0.1", running.port), name=HOST) as one:
        one.login()
        session.look()
        assert session.at("/iscsi/discovery").summary()[0] == "1 session"
        (node,) = session.at("/iscsi/discovery").children
        assert node.name.startswith(f"{HOST}:")
        session.run_cmdline(f"{node.path} end")
        assert one.closed_by_target()


def test_where_nothing_is_any_more_one_goes_up(session: Session) -> None:
    session.run_cmdline("/controllers add emulated:memory,size=8M,serial=GOES")
    session.run_cmdline("cd /controllers/GOES/health")
    session.run_cmdline("/controllers/GOES remove")
    assert session.at(".").path == "/controllers"


def test_controllers_of_one_spec_have_their_own_namespaces(
    session: Session, running: Daemon
) -> None:
    spec, lun = "emulated:memory,size=8M", "8.00 MiB, blocks of 512: iqn.2026-11.test:{} LUN 0"
    before = {each.name for each in session.at("/disks").children}
    numbers = []
    for name in ("one", "other"):
        session.run_cmdline(f"/controllers add {spec} iqn=iqn.2026-11.test:{name}")
    try:
        both = [each for each in session.at("/controllers").children if each.name != "S1"]
        numbers = [each._place.about["Number"] for each in both]
        theirs = [session.at(f"{each.path}/namespaces").children for each in both]
        told = {node.summary()[0] for (node,) in theirs}
        disks = {each.name for each in session.at("/disks").children} - before
        assert told == {lun.format("one"), lun.format("other")}
        assert {each.name for each in both} == {each.partition(":")[0] for each in disks}
    finally:
        for number in numbers:
            control.ask(running.state_dir, methods.REMOVE, methods.WhichController(str(number)))


def test_a_controller_that_is_dead_is_seen(tmp_path: Path) -> None:
    row = {"Number": 0, "DevicePath": "pci:01:00.0", "State": "dead", "Reason": "it was pulled out"}
    told = CONTROLLER.summary(Place(View(tmp_path), row))
    assert told == ("pci:01:00.0: dead: it was pulled out", False)


def test_a_line_of_the_tree_moves_no_cursor(session: Session) -> None:
    """What configshell writes for people has its colours, and no others."""
    root = session.at("/")
    node = Node(Kind(lambda place: ("\x1b[2J", None)), "x", root)
    try:
        assert node.summary() == (r"\x1b[2J", None)
    finally:
        root.remove_child(node)


def test_what_is_well_is_told_so(running: Daemon, session: Session) -> None:
    assert session.at("/controllers").summary() == ("1 of 1 live", True)
    assert session.at("/controllers/S1/health").summary()[1] is True
    assert session.at("/kernel").summary() == ("not served", None)
    assert session.at(f"/iscsi/{IQN}/portals/127.0.0.1:{running.port}").summary()[1] is True


def test_what_changes_anything_can_be_done(session: Session, host: Initiator) -> None:
    """But for secrets, which are not to be seen as they are typed, and nvme-cli's verbs."""
    session.look()
    nodes = [session.at("/")]
    for node in nodes:
        nodes += node.children
    done = {command.method.name for node in nodes for command in node.kind.commands}
    changing = {each.name for each in METHODS if each.changes}
    raw = {"controllers.command", "controllers.reset_subsystem", "units.command"}
    assert changing - done == {"secrets.set", *raw}


def test_the_kernels_target_is_configured_as_by_the_verb(
    session: Session,
    running: Daemon,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What the kernel makes of it is for a machine: tests/system."""
    names = ("0000_01_00.0", "0")
    row = methods.Export("nvme-0", names, 1, "nvme/0000_01_00.0/1", 1 << 30, "", "x.1")
    asked = View.of
    monkeypatch.setattr(
        View,
        "of",
        lambda view, method, *more: (
            [row] if method is methods.EXPORTS else asked(view, method, *more)
        ),
    )
    done: list[Any] = []

    def export(controller: str, state_dir: Path, **given: Any) -> Publication:
        done.append((controller, given))
        return Publication("iqn.x:y", (), (PortalAddress("127.0.0.1", 3260),))

    def unexport(controller: str, state_dir: Path, iqn: str | None) -> tuple[str, bool]:
        done.append((controller, iqn))
        return "iqn.x:y", True

    monkeypatch.setattr(kernel_target, "export", export)
    monkeypatch.setattr(kernel_target, "unexport", unexport)
    session.run_cmdline(
        "/kernel export 0 portals=127.0.0.1:3260,[::1]:3260 initiators=iqn.a:b nsids=1,2"
    )
    portals, usual = ("127.0.0.1:3260", "[::1]:3260"), {"iqn": None, "chap": None}
    given = {"nsids": (1, 2), "portals": portals, "initiators": ("iqn.a:b",), **usual}
    session.run_cmdline("/kernel unexport 0")
    assert done == [("0", given), ("0", None)]
    told = capsys.readouterr().out
    assert told == "target iqn.x:y on 127.0.0.1:3260\ntarget iqn.x:y: gone\n"
    assert session.at("/kernel").ui_complete_export({}, "0", "controller") == ["0000_01_00.0 "]
    assert session.at("/kernel/nvme-0").summary() == ("1.00 GiB, no backstore", None)
    with pytest.raises(OperationError, match="give --yes"):
        Session(running.state_dir).run_cmdline("/kernel unexport 0")


def test_disks_are_bound_as_by_the_verb(
    session: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What becomes of a disk is for a machine: tests/system."""
    done: list[Any] = []

    def bind(address: str, *, report: Callable[[str], None], system: object, **given: Any) -> None:
        done.append((address, given))
        report("driver_override")

    monkeypatch.setattr(bind_verb, "bind", bind)
    monkeypatch.setattr(bind_verb, "unbind", bind)
    monkeypatch.setattr(
        host_binding,
        "disks",
        lambda system: [SimpleNamespace(function=SimpleNamespace(address="0000:01:00.0"))],
    )
    session.run_cmdline("/disks bind 0000:01:00.0 persist=true serial=S force=true")
    session.run_cmdline("/disks unbind 0000:01:00.0 dry_run=true")
    bound = {"serial": "S", "force": True, "persist": True, "dry_run": False}
    assert done == [("0000:01:00.0", bound), ("0000:01:00.0", {"dry_run": True})]
    assert capsys.readouterr().out == "driver_override\nwould do: driver_override\n"
    assert session.at("/disks").ui_complete_bind({}, "0", "address") == ["0000:01:00.0 "]


def test_what_was_done_before_a_failure_is_told(
    session: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def bind(address: str, *, report: Callable[[str], None], **given: Any) -> None:
        report("driver_override")
        raise OperationError("vfio-pci does not take it")

    monkeypatch.setattr(bind_verb, "bind", bind)
    with pytest.raises(OperationError, match="does not take it"):
        session.run_cmdline("/disks bind 0000:01:00.0")
    assert capsys.readouterr().out == "driver_override\n"


def test_a_disk_that_is_not_there_is_not_bound(session: Session) -> None:
    with pytest.raises(OperationError, match=r"no PCI device 0000:fe:1f\.7"):
        session.run_cmdline("/disks bind 0000:fe:1f.7")


def test_a_dry_run_asks_nobody(running: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    session = Session(running.state_dir)
    session.run_cmdline("reload dry_run=true")
    assert capsys.readouterr().out == ""
    with pytest.raises(OperationError, match="give --yes"):
        session.run_cmdline("reload")


def test_events_are_told(
    capsys: pytest.CaptureFixture[str], session: Session, running: Daemon
) -> None:
    with Initiator(("127.0.0.1", running.port), name="iqn.2026-11.test:seen") as one:
        one.login(IQN)
    session.run_cmdline("events last=100")
    assert f"login of iqn.2026-11.test:seen to {IQN}" in capsys.readouterr().out
    with pytest.raises(UsageError, match="known: true, false"):
        session.run_cmdline("events follow=forever")


def test_disks_have_statistics(capsys: pytest.CaptureFixture[str], session: Session) -> None:
    session.run_cmdline("/disks stat")
    heads, *rows = capsys.readouterr().out.splitlines()
    assert heads.split()[:2] == ["Disk", "r/s"]
    assert len(rows) == 2


def test_values_are_completed(session: Session, host: Initiator) -> None:
    session.look()
    root, sessions = session.at("/"), session.at(f"/iscsi/{IQN}/sessions")
    assert root.ui_complete_log_level({}, "w", "level") == ["warning "]
    assert sessions.ui_complete_end({}, "iqn", "initiator") == [f"{HOST} "]
    (isid,) = sessions.ui_complete_end({}, "", "isid")
    assert len(bytes.fromhex(isid)) == 6
    assert session.at("/controllers").ui_complete_add({}, "em", "spec") == ["emulated:"]
    assert session.at("/controllers").ui_complete_add({}, "x", "alias") == []
    assert root.ui_complete_ls({}, "/controllers/", "path") == ["/controllers/S1/"]


def test_targets_are_made_and_given_to_somebody(tmp_path: Path) -> None:
    """What is saved is what runs."""
    mine = "/iscsi/iqn.2026-11.test:mine"
    port = free_port()
    with Daemon(tmp_path, config=targets(DISK)) as running:
        session = Session(running.state_dir, yes=True)

        def told(path: str) -> str:
            summary: str = session.at(path).summary()[0]
            return summary

        assert told(f"/iscsi/{IQN}/acls") == "anybody may log in"
        session.run_cmdline("/iscsi add iqn.2026-11.test:mine alias=x")
        assert told(mine) == "0 LUNs, 0 sessions: nothing to serve"
        session.run_cmdline(f"{mine}/luns map 3 0 nsid=2")
        assert told(f"{mine}/luns/lun3") == f"{DISK} namespace 2, 64.00 MiB"
        session.run_cmdline(f"{mine}/luns map 4 0")
        session.run_cmdline(f"{mine}/portals add 127.0.0.1:{port}")
        assert told(f"{mine}/portals") == "2 portals"
        session.run_cmdline(f"{mine}/acls allow {HOST} luns=3,4")
        assert told(f"{mine}/acls/{HOST}") == "LUNs 3, 4"
        assert told(f"/iscsi/{IQN}/acls") == "0 initiators"
        saved = tmp_path / "saved.toml"
        session.run_cmdline(f"saveconfig {saved}")
        assert "iqn.2026-11.test:mine" in saved.read_text()
        for line in (
            f"{mine}/acls/{HOST} deny",
            f"{mine}/portals/127.0.0.1:{port} remove",
            f"{mine}/luns/lun3 unmap",
            f"{mine} remove",
        ):
            session.run_cmdline(line)
        assert {each.name for each in session.at("/iscsi").children} == {"discovery", IQN}


@pytest.mark.parametrize(
    ("line", "error", "words"),
    [
        ("nonsense", OperationError, "Command not found nonsense; / has config, diff, reload,"),
        ("/iscsi create x", OperationError, "not found create; /iscsi has add beside ls, cd, help"),
        ("/iscsi/discovery map", OperationError, "/iscsi/discovery has end beside"),
        ("/nowhere ls", OperationError, "No such path /nowhere; / has controllers, disks, iscsi"),
        (f"/iscsi/{IQN}/backstores ls", OperationError, f"; /iscsi/{IQN} has acls, luns, portals"),
        ("/controllers add", OperationError, "Missing required parameter spec"),
        ("/controllers add nonsense", UsageError, "nonsense"),
        ("log_level loud", UsageError, "known: error, warning, info, debug"),
        ('/controllers/S1 remove "S2', UsageError, "makes no sense from"),
        (f"/iscsi/{IQN}/sessions end iqn.x:y", OperationError, "has no such session"),
        ("cd", OperationError, "say where to"),
        (f"/iscsi/{IQN}/acls allow {HOST} luns=all", UsageError, "luns 'all' is no list"),
        (f"/iscsi/{IQN}/luns map x 0", UsageError, "lun 'x' is no number"),
        ("saveconfig /nowhere/file", OperationError, "cannot be saved"),
    ],
)
def test_what_is_wrong_is_one_line(
    running: Daemon, session: Session, line: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        session.run_cmdline(line)
    assert "\n" not in str(caught.value)
    assert controllers(running) == [DISK]


def run(running: Daemon, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, "shell", "--state-dir", str(running.state_dir)]
    return subprocess.run([*command, *words], input=text, capture_output=True, text=True)


def test_a_script_ends_where_it_fails(running: Daemon) -> None:
    done = run(running, text="# what there is\ncd /controllers\n\npwd\nnonsense\npwd\n")
    assert done.returncode == FAILED
    assert done.stdout == "/controllers\n"
    assert done.stderr.startswith("scsi2nvme: line 5: Command not found nonsense; ")
    assert done.stderr.count("\n") == 1


def test_a_line_of_arguments_writes_nothing_at_home(running: Daemon, tmp_path: Path) -> None:
    command = [*PROGRAM, "shell", "/iscsi", "ls"]
    done = subprocess.run(
        [*command, "--state-dir", str(running.state_dir)],
        env=os.environ | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"o- {IQN} ." in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_person_gets_a_prompt_and_completion(running: Daemon) -> None:
    """What fails is told, and the prompt comes again."""
    ours, theirs = pty.openpty()
    command = [*PROGRAM, "shell", "--state-dir", str(running.state_dir)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as child:
        os.close(theirs)
        seen = b""

        def hear(words: bytes) -> None:
            nonlocal seen
            while words not in seen:
                seen += os.read(ours, 4096)
            seen = seen.partition(words)[2]

        hear(b"/> ")
        os.write(ours, b"cd /contr\t")
        hear(b"controllers/")
        os.write(ours, b"\n")
        hear(b"/controllers> ")
        os.write(ours, b"S1/ remove\n")
        hear(b"Go on? [y/N] ")
        os.write(ours, b"n\n")
        hear(b"nothing was done")
        hear(b"/controllers> ")
        os.write(ours, b"S1/\t\t")  # all that it may be, between two questions where the cursor is
        hear(b"\x1b[6n")
        os.write(ours, b"\x1b[9;9R")
        for word in (b"S1/firmware/", b"S1/health/", b"/controllers> S1/", b"\x1b[6n"):
            hear(word)
        os.write(ours, b"\x1b[9;9R")
        hear(b"\x1b[9;9H")
        os.write(ours, b"\x15exit\n")
        assert child.wait(60) == 0
    os.close(ours)
    assert controllers(running) == [DISK]


def test_without_a_daemon_a_person_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shell", "--state-dir", str(tmp_path), "ls"]) == FAILED
    assert capsys.readouterr().err.startswith("scsi2nvme: no scsi2nvme is running with")


def test_without_configshell_a_person_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "configshell_fb", None)
    monkeypatch.delitem(sys.modules, "scsi2nvme.cli.verbs.shell.session")
    monkeypatch.delattr("scsi2nvme.cli.verbs.shell.session")
    assert main(["shell", "ls"]) == FAILED
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "run: " in told
