"""The configuration file, and what the command line overrides."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.api.configuration import ConfigFile, TcmuTable
from scsi2nvme.cli import config
from scsi2nvme.cli.config import Settings, iscsi_name, load, portal_address, settings
from scsi2nvme.cli.errors import UsageError
from scsi2nvme.cli.naming import BASE, disk_name
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER
from scsi2nvme.typed import table
from tests.support import refused_in_one_line

FULL = """
iqn = "iqn.2026-11.org.example:base"
portals = ["127.0.0.1:3261", "[::1]:3262"]
state_dir = "/srv/state"
reactors = 2
poll_us = 0
ping_s = 0
ping_timeout_s = 90
first_port_group = 17

[[controllers]]
spec = "emulated:/srv/a.img,size=1G"
iqn = "iqn.2026-11.org.example:fast"

[[controllers]]
spec = "emulated:memory"

[[initiators]]
name = "IQN.1993-08.org.debian:01:host"
chap = { name = "host", secret = "a long enough secret" }
mutual_chap = { name = "disk", secret = "another long secret" }
targets = ["iqn.2026-11.org.example:fast"]
luns = [0, 3]

[[initiators]]
name = "iqn.1993-08.org.debian:01:other"

[chap]
name = "all"
secret = "some long enough secret"

[discovery_chap]
name = "finder"
secret = "a secret for discovery"
"""


def written(directory: Path, text: str, mode: int = 0o600) -> Path:
    path = directory / "scsi2nvme.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def merged(file: ConfigFile | None = None, **options: Any) -> Settings:
    return settings(
        file or ConfigFile(), default_state_dir=Path("/default"), maximum_reactors=64, **options
    )


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    result = merged(load(written(tmp_path, FULL)))
    assert [target.iqn for target in result.targets] == [
        "iqn.2026-11.org.example:fast",
        "iqn.2026-11.org.example:base",
    ]
    assert [str(portal) for portal in result.portals] == ["127.0.0.1:3261", "[::1]:3262"]
    assert (result.state_dir, result.reactors, result.poll_us) == (Path("/srv/state"), 2, 0)
    assert (result.ping_s, result.ping_timeout_s) == (0, 90)
    assert result.first_port_group == 17
    host, rest = result.initiators
    assert (host.name, host.luns) == ("iqn.1993-08.org.debian:01:host", (0, 3))
    assert (rest.chap, rest.luns, rest.targets) == (None, None, None)
    assert result.chap is not None
    assert result.discovery_chap is not None
    assert (result.chap.name, result.discovery_chap.name) == ("all", "finder")


def test_the_command_line_goes_first(tmp_path: Path) -> None:
    result = merged(
        load(written(tmp_path, FULL.replace('targets = ["iqn.2026-11.org.example:fast"]', ""))),
        controllers=("qemu:",),
        portals=("127.0.0.2",),
        iqn="iqn.2026-11.org.example:other",
        state_dir="here",
        reactors=1,
        poll_us=7,
        first_port_group=0xFFFF,
    )
    assert result.first_port_group == 0xFFFF
    assert [target.iqn for target in result.targets] == ["iqn.2026-11.org.example:other"]
    assert [str(portal) for portal in result.portals] == ["127.0.0.2:3260"]
    assert (result.state_dir, result.reactors, result.poll_us) == (Path("here"), 1, 7)


@pytest.mark.parametrize(
    ("iqn", "base"),
    [
        (None, "iqn.2026-11.io.github.scsi2nvme"),
        ("IQN.2026-11.org.example:x", "iqn.2026-11.org.example:x"),
    ],
)
def test_targets_are_named_after_their_disks(iqn: str | None, base: str) -> None:
    for controllers in (("emulated:memory", "qemu:"), ("qemu:", "emulated:memory")):
        result = merged(controllers=controllers, iqn=iqn)
        assert [target.name("disk") for target in result.targets] == [f"{base}:disk"] * 2
    (alone,) = merged(controllers=("qemu:",), iqn=iqn).targets
    assert alone.name("disk") == (base if iqn else f"{base}:disk")


def test_a_name_of_one_target_is_not_that_of_several() -> None:
    name = "eui.02004567a425678d"
    assert merged(controllers=("qemu:",), iqn=name).targets[0].iqn == name
    with pytest.raises(UsageError, match="give each controller its iqn"):
        merged(controllers=("qemu:", "emulated:memory"), iqn=name)


@pytest.mark.parametrize(
    ("model", "serial", "cmic", "name"),
    [
        (b"Samsung SSD 980 PRO 1TB", b"S5GXNX0R1", 0, "samsung-ssd-980-pro-1tb-s5gxnx0r1"),
        (b"A_model (OEM)", b"  1:2  ", 0, "a-model-oem-1-2"),
        (b"M", b"S", 2, "m-s-1f"),
        (b"", b"", 0, "disk"),
        (b"\xff\xff", b"-", 0, "disk"),
    ],
)
def test_what_a_disk_is_called(model: bytes, serial: bytes, cmic: int, name: str) -> None:
    raw = IDENTIFY_CONTROLLER.build(mn=model.ljust(40), sn=serial.ljust(20), cmic=cmic, cntlid=31)
    assert disk_name(IDENTIFY_CONTROLLER.parse(raw)) == name
    assert iscsi_name(f"{BASE}:{name}", "target name")


def test_defaults_are_loopback() -> None:
    result = merged(controllers=("emulated:memory", "qemu:"))
    assert [str(portal) for portal in result.portals] == ["127.0.0.1:3260"]
    assert result.state_dir == Path("/default")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("10.0.0.1", "10.0.0.1:3260"),
        ("10.0.0.1:0", "10.0.0.1:0"),
        ("10.0.0.1:1", "10.0.0.1:1"),
        ("[::]", "[::]:3260"),
        ("::1", "[::1]:3260"),
        ("[::1]", "[::1]:3260"),
        ("[fd00::1]:65535", "[fd00::1]:65535"),
        ("[fe80::1%eth0]:3261", "[fe80::1%eth0]:3261"),
        ("fe80::1%eth0", "[fe80::1%eth0]:3260"),
    ],
)
def test_portal_addresses(text: str, shown: str) -> None:
    assert str(portal_address(text)) == shown
    assert portal_address(shown) == portal_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        ":3260",
        "1.2.3:1",
        "1.2.3.4:65536",
        "1.2.3.4:x",
        "[::1",
        "[::1]x",
        "[]:1",
        "fe80::1",
    ],
)
def test_a_portal_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="portal"):
        portal_address(text)


@pytest.mark.parametrize(
    "name", ["iqn.2026-11.org.example", "iqn.2026-11.org.example:a.b-c:0", "eui.02004567A425678D"]
)
def test_iscsi_names(name: str) -> None:
    assert iscsi_name(name, "name") == name.lower()


@pytest.mark.parametrize(
    "name", ["disk", "iqn.2026.org", "iqn.2026-11.org.example:a b", "iqn.2026-11.a:" + "x" * 223]
)
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="target name"):
        iscsi_name(name, "target name")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("reactors = 2", "reactors = 65", ["reactors", "65", "64"]),
        ('spec = "emulated:memory"', 'spec = "emulated:memory"\nalias = "a\\nb"', ["alias"]),
        ("reactors = 2", 'reactors = "two"', ["reactors", "int"]),
        ("poll_us = 0", "poll_us = -1", ["poll_us", "-1"]),
        ("ping_s = 0", "ping_s = 3601", ["ping_s", "3600"]),
        ("timeout_s = 90", "timeout_s = -1", ["ping_timeout_s", "-1"]),
        ("group = 17", "group = 0", ["first_port_group", "0 is not between 1 and 65535"]),
        ("group = 17", "group = 65536", ["first_port_group", "65536"]),
        ("poll_us = 0", "pol_us = 0", ["pol_us"]),
        ("poll_us = 0", "poll_us = ", ["line 6"]),
        ("luns = [0, 3]", "luns = [16384]", ["luns", "16384", "16383"]),
        ('"a long enough secret"', '"short"', ["secret", "12"]),
        ('"another long secret"', '"a long enough secret"', ["must not share"]),
        ('targets = ["iqn.2026-11.org.example:fast"]', 'targets = ["x"]', ["targets", "'x'"]),
        (":01:other", ":01:host", ["same name"]),
        ("iqn.1993-08.org.debian:01:other", "me", ["initiator", "'me'"]),
        ('"a secret for discovery"', '"short"', ["discovery_chap", "secret", "12"]),
        ("[chap]", "[mutual_chap]", ["mutual_chap", "chap"]),
        ('chap = { name = "host"', 'chap = { name = ""', ["chap", "name"]),
        ("emulated:memory", "emulated:", ["PATH"]),
        ('portals = ["127.0.0.1:3261", "[::1]:3262"]', "portals = []", ["portals"]),
    ],
)
def test_a_mistake_is_named_in_one_line(
    tmp_path: Path, old: str, new: str, words: list[str]
) -> None:
    assert old in FULL
    with pytest.raises(UsageError) as caught:
        merged(load(written(tmp_path, FULL.replace(old, new, 1))))
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[controllers]]", "controllers[0].spec is missing"),
        ("[[controllers]]\nspec = 7", "controllers[0].spec: is an integer, not a string"),
        ("iqn = 1979-05-27", "iqn: is a date or time, not a string"),
        ("reactors = true", "reactors: is a boolean, not an integer"),
        ("[[initiators]]\nname = 'x'\nluns = [0, 1.5]", "luns[1]: is a float, not an integer"),
        ("portals = '127.0.0.1'", "portals: is a string, not an array"),
        ("chap = []", "chap: is an array, not a table"),
        ("[chap]\nname = 'x'", "chap.secret is missing"),
        ("tcmu = { zero_copy = 'on' }", 'tcmu.zero_copy: is not "auto" or "off"'),
        ("tcmu = { copy = 'on' }", "tcmu.copy is unknown; known: dbus, zero_copy"),
        ('state_dir = "a\\u0000b"', "state_dir: has a control character"),
        ('"a\\nb" = 1', r"'a\nb' is unknown"),
        (f"x = {'[' * 5000}", "is nested too deeply"),
        (f"x = {'9' * 5000}", "a number has too many digits"),
        ("x = 1\n" * 300_000, "is longer than 1048576 bytes"),
    ],
    ids=range(15),
)
def test_a_mistake_is_told_in_the_files_own_words(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(written(tmp_path, text))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, words in (
        (pipe, "is no regular file"),
        (Path("/dev/zero"), "is no regular file"),
        (tmp_path, "is no regular file"),
        (tmp_path / "none", "No such file or directory"),
    ):
        with pytest.raises(UsageError) as caught:
            load(path)
        assert str(caught.value) == f"configuration {path}: {words}"


DEFAULTS: dict[str, Any] = {"default_state_dir": Path("/tmp"), "maximum_reactors": 8}


def test_the_file_is_named_whose_meaning_is_wrong(tmp_path: Path) -> None:
    path = written(tmp_path, "portals = ['nowhere']\n[[controllers]]\nspec = 'emulated:memory'")
    with pytest.raises(UsageError, match=f"^configuration {path}: portal 'nowhere': "):
        config.merged(path, **DEFAULTS)
    with pytest.raises(UsageError, match=r"^portal 'neither': "):
        config.merged(path, portals=("neither",), **DEFAULTS)
    found = config.merged(path, portals=("127.0.0.1",), **DEFAULTS)
    assert [str(one) for one in found.portals] == ["127.0.0.1:3260"]
    with pytest.raises(UsageError, match=r"^no controller to serve"):
        config.merged(None, **DEFAULTS)


def test_a_secret_is_in_no_message(tmp_path: Path) -> None:
    for secret in ("4711471147114711", '"4711\\u0000471147114711"'):
        with pytest.raises(UsageError, match=r"chap\.secret") as caught:
            load(written(tmp_path, f"[chap]\nname = 'x'\nsecret = {secret}"))
        assert "4711" not in str(caught.value)


ANY = hypothesis.settings(max_examples=50, deadline=None)
VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(), st.text(), st.dates()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
NAMES = [*(field.name for field in fields(ConfigFile)), "spec", "name", "luns", "else"]


@ANY
@given(st.dictionaries(st.sampled_from(NAMES), VALUES) | VALUES)
def test_tables_of_any_types_are_read_or_refused_in_one_line(value: Any) -> None:
    read: list[ConfigFile] = []
    if refused_in_one_line(lambda: read.append(table(value, ConfigFile)), ValueError) is None:
        refused_in_one_line(lambda: merged(*read), UsageError)


@ANY
@given(st.binary())
def test_files_of_any_bytes_are_read_or_refused_in_one_line(content: bytes) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "scsi2nvme.toml")
        path.write_bytes(content)
        refused_in_one_line(lambda: load(path), UsageError)


def test_secrets_that_others_can_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="chmod 640"):
        load(written(tmp_path, FULL, 0o644))
    load(written(tmp_path, FULL, 0o640))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: No such file"):
        load(tmp_path / "none.toml")


def test_nothing_to_serve_is_refused() -> None:
    with pytest.raises(UsageError, match="--controller"):
        merged()


def test_two_targets_of_one_name_are_refused(tmp_path: Path) -> None:
    text = FULL.replace(":fast", ":base")
    with pytest.raises(UsageError, match="is another controller's"):
        merged(load(written(tmp_path, text)))


def test_zero_copy_is_the_kernels_targets() -> None:
    assert merged(controllers=("emulated:memory",), tcmu=True).tcmu == TcmuTable()
    off = merged(controllers=("emulated:memory",), tcmu=True, zero_copy="off").tcmu
    assert off == TcmuTable(zero_copy="off")
    file = ConfigFile(tcmu=TcmuTable(dbus=False, zero_copy="off"))
    auto = merged(file, controllers=("emulated:memory",), zero_copy="auto").tcmu
    assert auto == TcmuTable(dbus=False, zero_copy="auto")
    with pytest.raises(UsageError, match="give --tcmu too"):
        merged(controllers=("emulated:memory",), zero_copy="off")
