"""Command lines and configurations that are wrong: one clear line each, and the right status."""

from __future__ import annotations

from pathlib import Path

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.cli.config import Settings
from scsi2nvme.cli.errors import FAILED, MISUSED

# What is typed after `scsi2nvme`, {dir} being an empty directory; and what the line must say.
MISUSES = (
    ("", "the following arguments are required: SUBCOMMAND; see: scsi2nvme --help"),
    ("srve", "argument SUBCOMMAND: 'srve' is unknown; did you mean serve?"),
    ("help", "argument SUBCOMMAND: 'help' is unknown; see: scsi2nvme --help"),
    ("--frob serve", "unrecognized arguments: --frob; see: scsi2nvme"),
    ("serve help", "unrecognized arguments: help; did you mean --help?"),
    ("serve emulated:memory", "unrecognized arguments: emulated:memory"),
    ("serve --controler x", "unrecognized arguments: --controler x; did you mean --controller?"),
    ("serve --portals 1.2.3.4", "--portals 1.2.3.4; did you mean --portal?"),
    ("serve --control x", "unrecognized arguments: --control x; did you mean --controller?"),
    ("serve --controller", "argument --controller: expected one argument"),
    ("serve --portal", "argument --portal: expected one argument"),
    ("serve", "no controller to serve: give --controller SPEC"),
    ("serve --config {dir}/none.toml", "none.toml: No such file or directory"),
    ("serve --config {dir}", "is no regular file"),
    ("serve --log-level verbose", "argument --log-level: 'verbose' is unknown; known: error, w"),
    ("serve --log-level debg", "argument --log-level: 'debg' is unknown; did you mean debug?"),
    ("serve --zero-copy on", "argument --zero-copy: 'on' is unknown; known: auto, off"),
    ("serve --reactors two", "argument --reactors: invalid int value: 'two'"),
    ("serve --poll-us 1ms", "argument --poll-us: invalid int value: '1ms'"),
    ("serve -v -q", "argument -q/--quiet: not allowed with argument -v/--verbose"),
    ("serve -v --log-level info", "argument --log-level: not allowed with argument -v/--verbose"),
    ("daemon --tcmu", "unrecognized arguments: --tcmu"),
    ("daemon --config {dir}/none.toml", "none.toml: No such file or directory"),
    ("list emulated", "write emulated:PATH"),
    ("list nope:1", "transport 'nope' is unknown; use emulated: or pci: or qemu:"),
    ("list pci:", "PATH: '' is not a PCI address such as 0000:01:00.0"),
    ("id-ctrl --nsid 1", "unrecognized arguments: --nsid"),
    ("id-ctrl nope:1", "transport 'nope' is unknown"),
    ("id-ns -n x emulated:memory", "argument -n/--namespace-id: invalid int value: 'x'"),
    ("smart-log emulated:memory,size=x", "size: 'x' is not a size such as 512M"),
    ("error-log pci:1", "PATH: '1' is not a PCI address"),
    ("bind", "the following arguments are required: ADDRESS; see: scsi2nvme bind --help"),
    ("bind nvme0", "'nvme0' is not a PCI address such as 0000:01:00.0"),
    ("bind /dev/nvme0n1", "'/dev/nvme0n1' is not a PCI address such as 0000:01:00.0"),
    ("bind 01:00.0 --force", "--force needs --serial SERIAL"),
    ("bind 01:00.0 --serial", "argument --serial: expected one argument"),
    ("bind 01:00.0 02:00.0", "unrecognized arguments: 02:00.0"),
    ("locate nvme0", "'nvme0' is not a PCI address such as 0000:01:00.0"),
    ("locate 01:00.0 dim", "argument state: 'dim' is unknown; known: on, off"),
    ("unbind 01:00", "'01:00' is not a PCI address such as 0000:01:00.0"),
    ("unbind 01:00.0 --force", "unrecognized arguments: --force"),
    ("explain", "the following arguments are required: KIND, HEX"),
    ("explain cdb", "the following arguments are required: HEX"),
    ("explain cbd 12", "argument KIND: 'cbd' is unknown; known: cdb, sense, nvme"),
    ("locate", "the following arguments are required: ADDRESS"),
    ("locate nvme0", "'nvme0' is not a PCI address such as 0000:01:00.0; see: scsi2nvme list"),
    ("locate 0000:01:00.0 blink", "'blink' is unknown; known: on, off"),
    ("persistent-event-log -a 9", "argument -a/--action: '9' is not between 0 and 0x3"),
    ("explain cdb zz", "zz: not bytes in hexadecimal, two digits each"),
    ("explain sense 99/99/99", "99h: no sense key"),
    ("explain nvme 99999", "99999: no NVMe status"),
    ("add", "the following arguments are required: SPEC"),
    ("add disk.img --state-dir {dir}", "write emulated:disk.img"),
    ("add emulated:memory --iqn disk --state-dir {dir}", "'disk': is no iSCSI name such as"),
    ("remove", "the following arguments are required: CONTROLLER"),
    ("sessions --state-dir", "argument --state-dir: expected one argument"),
    ("top --state-dir", "argument --state-dir: expected one argument"),
    ("stat --state-dir", "argument --state-dir: expected one argument"),
    ("top soon", "argument INTERVAL: invalid float value: 'soon'"),
    ("events --last ten", "argument --last: invalid int value: 'ten'"),
    ("end-session", "the following arguments are required: INITIATOR"),
    ("reset", "the following arguments are required: CONTROLLER"),
    ("forget", "the following arguments are required: CONTROLLER"),
    ("log-level loud", "argument LEVEL: 'loud' is unknown; known: error, warning, info, debug"),
    ("export", "the following arguments are required: CONTROLLER"),
    ("export 0 -n one", "argument -n/--namespace-id: invalid int value: 'one'"),
    ("unexport 0 --iqn foo --state-dir {dir}", "target name 'foo': is no iSCSI name such as"),
    ("install-units extra", "unrecognized arguments: extra"),
    ("completion", "the following arguments are required: SHELL"),
    ("completion fish", "argument SHELL: 'fish' is unknown; known: bash, zsh"),
    ("fuzz --time soon", "--time: 'soon' is not a time such as 90s, 10m or 1h"),
    ("fuzz --seed x", "argument --seed: invalid int value: 'x'"),
    ("fuzz --command NOPE", "no command's name begins with 'NOPE'"),
    ("list-ns nope:1", "transport 'nope' is unknown"),
    ("list-ns -n x", "argument -n/--namespace-id: 'x' is not a number such as 10 or 0xA"),
    ("list-ns -n 0x100000000", "'0x100000000' is not between 0 and 0xffffffff"),
    ("list-ns -o yaml", "argument -o/--output-format: 'yaml' is unknown; known: normal, json, b"),
    ("get-feature -f 256", "argument -f/--feature-id: '256' is not between 0 and 0xff"),
    ("set-feature -v 1", "the following arguments are required: -f/--feature-id"),
    ("set-feature -f 6", "set-feature: give --value, or --data-len and --data"),
    ("get-log -i 2", "get-log: give --log-len, the number of bytes"),
    ("get-log -l 64", "get-log: give --log-id"),
    ("get-lba-status -m 0", "get-lba-status: --max-dw is at least 1: two dwords tell of the rest"),
    ("telemetry-log", "the following arguments are required: -o/--output-file"),
    ("telemetry-log -o x -d 5", "telemetry-log: --data-area is 1, 2, 3 or 4"),
    ("format", "the following arguments are required: -n/--namespace-id"),
    ("format -n 1 -s 3", "argument -s/--ses: '3' is not between 0 and 2"),
    ("format -n 1 -l 0 -b 512", "format: give --lbaf or --block-size, not both"),
    ("sanitize", "the following arguments are required: -a/--sanact"),
    ("sanitize -a 9", "'9' is not between 0 and 0x7"),
    ("sanitize -a 7", "'7' is unknown; known: exit-failure, start-block-erase"),
    ("sanitize -a 2 -n 3", "--owpass, --oipbp and --ovrpat are of --sanact start-overwrite"),
    ("dsm -b 1,2 -s 0", "dsm: give as many --slbs as --blocks, 1 to 256"),
    ("dsm -b 1,x -s 0", "argument -b/--blocks: 'x' is not a number"),
    ("read -y x", "argument -y/--metadata-size: 'x' is not a number such as 10 or 0xA"),
    ("io-passthru -o 1 -f 1", "argument -f/--flags: must be 0: fused commands and SGLs are the"),
    ("io-passthru -o 1 -m 8", "io-passthru: --metadata-len: give --read or --write, too"),
    ("read emulated:memory,size=1M -c 1 -z 512", "read: --data-size 512: the blocks have 1024"),
    ("admin-passthru", "the following arguments are required: -o/--opcode"),
    ("admin-passthru -o 6 -f 1", "argument -f/--flags: must be 0: fused commands and SGLs are"),
    ("admin-passthru -o 6 -l 8", "admin-passthru: --data-len: give --read or --write, too"),
    ("io-passthru -o 2 -r -w", "io-passthru: give --read or --write, not both"),
    ("dumps tell", "argument ACTION: 'tell' is unknown; known: list, show, fetch, remove"),
    (f"dumps show {'9' * 5000} --state-dir {{dir}}", "dumps show: give the number of a dump"),
    ("dumps show --state-dir {dir}", "dumps show: give the number of a dump"),
    ("dumps fetch 1 --state-dir {dir}", "dumps fetch: give the file to write"),
    ("dumps list 1 --state-dir {dir}", "dumps list: '1' is too much"),
    ("remove 0 --state-dir=", "argument --state-dir: is empty; see: scsi2nvme remove --help"),
    ("serve --state-dir= --controller emulated:memory", "argument --state-dir: is empty"),
    ("serve --config= --controller emulated:memory", "argument --config: is empty"),
    ("serve --controller=", "argument --controller: is empty"),
    ("add emulated:memory --iqn=", "argument --iqn: is empty"),
    ("end-session iqn.2026-11.a --isid 8000", "--isid: '8000' is not six bytes in hexadecimal"),
    ("events --last -1", "--last: 0 at least"),
    ("events --last= --no-follow", "argument --last: invalid int value: ''"),
    ("stat nan", "INTERVAL: 0.01 to 86400 seconds"),
    ("stat 1 0", "COUNT: 1 at least"),
    ("stat --by lun", "argument --by: 'lun' is unknown; known: disk, controller, session, init"),
    ("top 1e-9", "INTERVAL: 0.01 to 86400 seconds"),
    ("explain sense 70", "70: no sense data: 1 of their 8 bytes at least"),
    ("explain sense 7f00000000000000", "no sense data: response code 7Fh, not 70h to 73h"),
    ("explain cdb=", "argument KIND: 'cdb=' is unknown"),
    ("scsi-passthru 0 zz --state-dir {dir}", "zz: not bytes in hexadecimal, two digits each"),
    ("check --frob", "unrecognized arguments: --frob; see: scsi2nvme check --help"),
)

# SPECs behind `serve --controller`.
SPECS = (
    ("emulated", "write emulated:PATH or emulated:memory"),
    ("disk.img", "a file is served as a disk: write emulated:disk.img"),
    ("./disks/a,size=1G", "write emulated:./disks/a,size=1G"),
    ("/dev/nvme0n1", "a disk is named by its PCI address, as `scsi2nvme list` shows it"),
    ("nvme0", "a disk is named by its PCI address, as `scsi2nvme list` shows it"),
    ("0000:01:00.0", "write pci:0000:01:00.0"),
    ("01:00.0,readonly=on", "write pci:01:00.0,readonly=on"),
    ("Emulated:memory", "transport 'Emulated' is unknown; use emulated:"),
    ("pci:/dev/nvme0n1", "PATH: '/dev/nvme0n1' is not a PCI address such as 0000:01:00.0"),
    ("pci:01:00.0,size=1G", "size: a pci controller has its own"),
    ("pci:01:00.0,noiommu=yes", "noiommu: 'yes' is not on or off"),
    ("emulated:", "PATH is missing; use emulated:PATH or emulated:memory"),
    ("emulated:memory,size=abc", "size: 'abc' is not a size such as 512M, 64G or 2T"),
    ("emulated:memory,size=1.5G", "size: '1.5G' is not a size such as 512M, 64G or 2T"),
    ("emulated:memory,size=0", "size: '0' is not between 1 byte and 4096 PiB"),
    ("emulated:memory,size=1", "size: 1 is no multiple of 512"),
    ("emulated:memory,block=1024", "block: '1024' is not 512 or 4096"),
    ("emulated:memory,namespaces=0", "namespaces: '0' is not a number from 1 to 256"),
    ("emulated:memory,colour=red", "option 'colour=red' is unknown; known: "),
    ("emulated:memory,readonly", "option 'readonly' is unknown; known: "),
    ("emulated:memory,readonly=1", "readonly: '1' is not on or off"),
    ("emulated:memory,size=1G,size=2G", "size is given twice"),
    ("emulated:memory,", "option '' is unknown"),
    (f"emulated:memory,namespaces={'9' * 5000}", "a number has too many digits"),
    ("emulated:memory,noiommu=on", "noiommu: only pci controllers have an IOMMU"),
    ("emulated:\udcff.img", "is not UTF-8"),
    ("emulated:a\nb", "has a control character"),
    ("emulated:memory,fault=reed:hang", "fault: 'reed:hang'"),
    ("emulated:memory,tell=foo:1", "tell: 'foo:1'"),
    ("emulated:memory,metadata=9", "metadata: '9' is none of 0, 8, 16, 64"),
    ("emulated:memory,protection=1", "protection: type 1 needs metadata; add metadata=8"),
    ("emulated:memory,extended=on", "extended: only where there are metadata; add metadata=8"),
    ("emulated:disk.img,metadata=8", "they are not kept in a file; use emulated:memory"),
    ("emulated:memory,metadata=8,null=on", "metadata: not with null; leave one of them out"),
)

# Other options of `serve --controller emulated:memory`.
OPTIONS = (
    ("--portal 300.1.1.1", "'300.1.1.1' is no IPv4 or IPv6 address"),
    ("--portal localhost", "'localhost' is no IPv4 or IPv6 address"),
    ("--portal 127.0.0.1:0x10", "port '0x10' is not a number from 0 to 65535"),
    ("--portal 127.0.0.1:99999", "port '99999' is not a number from 0 to 65535"),
    ("--portal fe80::1", "name its interface, as in [fe80::1%eth0]:3260"),
    ("--portal [::1", "write an IPv6 address as [ADDRESS]:PORT"),
    ("--portal 224.0.0.1", "224.0.0.1 is of many machines: none connects to it"),
    ("--portal 255.255.255.255:3260", "255.255.255.255 is of many machines"),
    ("--portal [ff02::1%lo]:3260", "is of many machines"),
    ("--metrics 224.0.0.1", "metrics '224.0.0.1': 224.0.0.1 is of many machines"),
    ("--portal 127.0.0.1 --portal 127.0.0.1:3260", "portal 127.0.0.1:3260: is there twice"),
    ("--iqn disk", "target name 'disk': is no iSCSI name such as iqn.2026-11.org.example:disk"),
    ("--iqn iqn.2026-13.org.example", "is no iSCSI name such as"),
    ("--iqn iqn.2026.org.example", "is no iSCSI name such as"),
    ("--iqn eui.123", "is no iSCSI name such as"),
    ("--reactors 0", "reactors: 0 is not between 1 and 64"),
    ("--reactors 65", "reactors: 65 is not between 1 and 64"),
    ("--first-port-group 0", "first_port_group: 0 is not between 1 and 65535"),
    ("--first-port-group 65536", "first_port_group: 65536 is not between 1 and 65535"),
    ("--poll-us -1", "poll_us: -1 is not between 0 and 10000"),
    ("--state-dir /tmp/\udcff", "is not UTF-8"),
    ("--state-dir /tmp/a\x1bb", "has a control character"),
    ("--zero-copy off", "--zero-copy is about the kernel's target: give --tcmu too"),
)

# Configurations; what is ill in TOML or in its types is told with its place.
A_DISK = '[[controllers]]\nspec = "emulated:memory"\n'
A_LUN = "[[targets]]\niqn = 'iqn.2026-11.a'\nluns = [{ lun = 0, controller = 'emulated:memory'"
SECRET = '"a long enough secret"'
CONFIGURATIONS = (
    ("", "no controller to serve"),
    ("[[controllers]]", "controllers[0].spec is missing"),
    ("[controllers]\nspec = 'emulated:memory'", "controllers: is a table, not an array"),
    ("controllers = ['emulated:memory']", "controllers[0]: is a string, not a table"),
    ("[[controller]]\nspec = 'emulated:memory'", "controller is unknown; known: "),
    ("[[controllers]]\nspec = 'nope:'", "transport 'nope' is unknown"),
    ("[[controllers]]\nspec = 'emulated:memory'\nname = 'x'", "controllers[0].name is unknown"),
    (f"{A_DISK}iqn = 'disk'", "target name 'disk': is no iSCSI name"),
    (f'{A_DISK}alias = "a\\nb"', "alias: has a control character"),
    (f"portal = ['127.0.0.1']\n{A_DISK}", "portal is unknown; known: "),
    (f"portals = '127.0.0.1'\n{A_DISK}", "portals: is a string, not an array"),
    (f"portals = []\n{A_DISK}", "portals: is empty, so nobody could connect"),
    (f"portals = ['host']\n{A_DISK}", "'host' is no IPv4 or IPv6 address"),
    (f"reactors = '2'\n{A_DISK}", "reactors: is a string, not an integer"),
    (f"reactors = 0\n{A_DISK}", "reactors: 0 is not between 1 and 64"),
    (f"ping_s = -1\n{A_DISK}", "ping_s: -1 is not between 0 and 3600"),
    (f"dumps = 65\n{A_DISK}", "dumps: 65 is not between 0 and 64"),
    (f"log_level = 'loud'\n{A_DISK}", 'log_level: is not "error" or "warning"'),
    (f"control_group = 'no such'\n{A_DISK}", "control_group: there is no group 'no such'"),
    (f"cold_reset = 'yes'\n{A_DISK}", "cold_reset: is a string, not a boolean"),
    (f"iqn = 'iqn.2026-11.a\n{A_DISK}", 'Expected "\'"'),
    (f"{A_DISK}[chap]\nname = 'x'", "chap.secret is missing"),
    (f"{A_DISK}[chap]\nname = 'x'\nsecret = 'short'", "chap: secret is shorter than 12 bytes"),
    (f"{A_DISK}[chap]\nname = ''\nsecret = {SECRET}", "chap: name is empty"),
    (f"{A_DISK}[chap]\nname = '{'x' * 256}'\nsecret = {SECRET}", "name is longer than 255 bytes"),
    (f"portals = ['[::1]:1', '[0::1]:1']\n{A_DISK}", "portal [::1]:1: is there twice"),
    (f"{A_DISK}\nspec = 'emulated:memory'", "Cannot overwrite a value"),
    ("\ufeff" + A_DISK, "Invalid statement (at line 1, column 1)"),
    (f"metrics = '0'\n{A_DISK}", "metrics '0': '0' is no IPv4 or IPv6 address"),
    (f"ping_s = nan\n{A_DISK}", "ping_s: is a float, not an integer"),
    (f"reactors = true\n{A_DISK}", "reactors: is a boolean, not an integer"),
    (f"[tcmu]\ndbus = 1\n{A_DISK}", "tcmu.dbus: is an integer, not a boolean"),
    ("[[controllers]]\nspec = 'emulated:/a\\u0000b'".replace("'", '"'), "has a control character"),
    (f"control_group = ''\n{A_DISK}", "control_group: there is no group ''"),
    (f"base = 'x'\n{A_DISK}", "base 'x': is no iSCSI name"),
    ("a." * 3000 + "b = 1", "a is unknown; known: "),
    ("reactors = " + "9" * 5000, "a number has too many digits"),
    (f"{A_DISK}[mutual_chap]\nname = 'x'\nsecret = {SECRET}", "mutual_chap needs chap"),
    (f"{A_DISK}{A_LUN}, nsid = 0 }}]", "LUN 0: nsid: 0 is not between 1 and 4294967294"),
    (f"{A_DISK}[tcmu]\nzero_copy = 'on'", 'tcmu.zero_copy: is not "auto" or "off"'),
    ("[" * 5000, "Invalid initial character for a key part"),
    ("x = " + "[" * 5000, "is nested too deeply"),
    ("{'controllers': []}", "Invalid statement (at line 1, column 1)"),
    ("controllers:\n  - spec: emulated:memory", "Expected '=' after a key"),
    (f"reactors = 1e400\n{A_DISK}", "reactors: is a float, not an integer"),
    (f"ping_s = 99999999999999999999\n{A_DISK}", "is not between 0 and 3600"),
    ("[[controllers]]\nspec = 2020-01-01", "controllers[0].spec: is a"),
    (f"{A_DISK}{A_DISK}iqn = 'iqn.2026-11.a'\n{A_DISK}iqn = 'iqn.2026-11.a'", "another contr"),
    (f"{A_DISK}[[initiators]]\nname = 'host'", "initiator 'host': is no iSCSI name"),
    (f"{A_DISK}[[initiators]]\nname = 'iqn.2026-11.a'\nluns = [-1]", "luns: -1 is not between"),
)


def test_there_are_enough_of_them() -> None:
    tables = (MISUSES, SPECS, OPTIONS, CONFIGURATIONS, IMPOSSIBLE)
    assert sum(map(len, tables)) >= 200


@pytest.fixture
def nobody_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what is served after all fail at once: a daemon would end at its own time."""

    def run(settings: Settings) -> int:
        raise AssertionError(f"it makes sense: {settings}")

    monkeypatch.setattr("scsi2nvme.cli.daemon.serve.run", run)


def line_of(arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that the program says of arguments that are wrong."""
    assert main(arguments) == status
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("scsi2nvme: ")
    assert told.err.count("\n") == 1
    assert "Traceback" not in told.err
    return told.err


@pytest.mark.usefixtures("nobody_served")
@pytest.mark.parametrize(("typed", "words"), MISUSES, ids=[typed[:80] for typed, _ in MISUSES])
def test_a_command_line_that_makes_no_sense(
    typed: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [word.replace("{dir}", str(tmp_path)) for word in typed.split()]
    assert words in line_of(arguments, MISUSED, capsys)


@pytest.mark.usefixtures("nobody_served")
@pytest.mark.parametrize(("spec", "words"), SPECS, ids=[spec[:80] for spec, _ in SPECS])
def test_a_spec_that_makes_no_sense(
    spec: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = line_of(["serve", "--controller", spec], MISUSED, capsys)
    assert line.startswith(f"scsi2nvme: controller {spec!r}: ")
    assert words in line


@pytest.mark.usefixtures("nobody_served")
@pytest.mark.parametrize(("typed", "words"), OPTIONS, ids=[typed for typed, _ in OPTIONS])
def test_an_option_that_makes_no_sense(
    typed: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["serve", "--controller", "emulated:memory", *typed.split()]
    assert words in line_of(arguments, MISUSED, capsys)


@pytest.mark.usefixtures("nobody_served")
@pytest.mark.parametrize(("text", "words"), CONFIGURATIONS, ids=range(len(CONFIGURATIONS)))
def test_a_configuration_that_makes_no_sense(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "scsi2nvme.toml"
    file.write_text(text)
    file.chmod(0o600)
    assert words in line_of(["serve", "--config", str(file)], MISUSED, capsys)


# What makes sense, and cannot be done here: {dir} is an empty directory.
IMPOSSIBLE = (
    ("serve --controller emulated:{dir}/no/disk.img --state-dir {dir}/s", "disk.img: No such file"),
    ("serve --controller emulated:{dir} --state-dir {dir}/s", "{dir}: Is a directory"),
    ("serve --controller emulated:memory --state-dir /dev/null", "/dev/null: Not a directory"),
    ("serve --controller emulated:memory --state-dir /proc/no", "choose another with --state-dir"),
    (
        "serve --controller emulated:memory --portal 192.0.2.77 --state-dir {dir}/s",
        "192.0.2.77:3260: Cannot assign requested address; choose another portal",
    ),
    ("id-ctrl qemu:/dev/null", "/dev/null: is empty"),
    ("id-ctrl emulated:{dir}", "{dir}: is no regular file"),
    ("id-ctrl emulated:/dev/null", "/dev/null: is no regular file"),
    ("serve --controller emulated:/dev/zero --state-dir {dir}/s", "zero: is no regular file"),
    ("list emulated:{dir}/none.img", "none.img: No such file or directory"),
    ("list --state-dir {dir}", "no scsi2nvme is running with state directory {dir}"),
    ("id-ns -n 9 emulated:memory", "there is no namespace 9; active: 1"),
    ("id-ctrl --state-dir {dir}", "or name a controller by its SPEC"),
    ("locate 0000:fe:1f.7", "there is no PCI device 0000:fe:1f.7; see: scsi2nvme list"),
    ("bind 0000:fe:1f.7", "there is no PCI device 0000:fe:1f.7; see: scsi2nvme list"),
    ("add emulated:memory --state-dir {dir}", "start one, or give its --state-dir\n"),
    ("remove 0 --state-dir {dir}", "start one, or give its --state-dir\n"),
    ("sessions --state-dir {dir}", "start one, or give its --state-dir\n"),
    ("export 0 --state-dir {dir}", "start one, or give its --state-dir\n"),
    ("dumps show 3 --state-dir {dir}", "there is no dump 3 in {dir}/dumps; there are: none"),
    (
        "persistent-event-log emulated:memory",
        "log 0Dh: the controller has no such log: Invalid Log",
    ),
    ("sanitize-log emulated:memory", "log 81h: the controller has no such log: Invalid Log Page"),
    ("reload --dry-run --state-dir {dir}", "start one, or give its --state-dir\n"),
    ("flush --state-dir {dir}", "or name a controller by its SPEC"),
    ("io-passthru emulated:memory -o 0 -n 9", "there is no namespace 9; active: 1"),
    ("admin-passthru emulated:memory -o 5", "is not passed: the driver alone keeps queues"),
    ("write emulated:memory -d {dir}/none", "{dir}/none: No such file or directory"),
    ("format emulated:memory -n 1 -b 1024", "no blocks of 1024 bytes; it has 512, 4096"),
    ("install-units --program relative", "'relative' is no absolute path"),
    ("install-units --root /proc/no --program /opt/x", "/proc/no/etc/systemd"),
)


@pytest.mark.parametrize(("typed", "words"), IMPOSSIBLE, ids=[typed for typed, _ in IMPOSSIBLE])
def test_what_cannot_be_done(
    typed: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = typed.replace("{dir}", str(tmp_path)).split()
    assert words.replace("{dir}", str(tmp_path)) in line_of(arguments, FAILED, capsys)
