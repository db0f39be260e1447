"""What takes long, and changes a disk as a whole: formats, sanitize operations, self-tests."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.cli.passing.conversation import (
    Conversation,
    Done,
    Pause,
    Reset,
    Shown,
    identify_namespace,
    log_pages,
    succeed,
)
from scsi2nvme.cli.passing.row import (
    ALL_NAMESPACES,
    FORCE,
    TIMEOUT,
    Option,
    Row,
    always,
    flag,
    namespace_id,
    namespaces_data,
    number,
)
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.log_structures import SANITIZE_STATUS, SANITIZE_STATUS_LOG, SELF_TEST_LOG
from scsi2nvme.nvme.namespace import format_index, lba_formats

_POLL_S = 1.0
_FORMAT_S = 24 * 3600.0
_SANITIZE = {
    "exit-failure": 1,
    "start-block-erase": 2,
    "start-overwrite": 3,
    "start-crypto-erase": 4,
}
_OVERWRITE = 3
_SANITIZING, _SANITIZE_FAILED = 2, 3  # of the log's state
_STARTED = {
    0x1: "Short Device self-test started",
    0x2: "Extended Device self-test started",
    0xE: "Vendor specific Device self-test started",
    0xF: "Aborting device self-test operation",
}


def _lba_format(given: argparse.Namespace) -> Conversation[int]:
    """Return the LBA format that is wanted: given, of a block size, or what it has."""
    if given.lbaf is not None:
        return int(given.lbaf)
    nsid = 1 if given.namespace_id == ALL_NAMESPACES else given.namespace_id
    namespace = yield from identify_namespace(nsid)
    if not given.block_size:
        return format_index(namespace)
    for index, one in enumerate(lba_formats(namespace)):
        if 1 << one.lbads == given.block_size and not one.ms:
            return index
    sizes = sorted({1 << one.lbads for one in lba_formats(namespace) if one.lbads and not one.ms})
    known = ", ".join(map(str, sizes))
    raise OperationError(f"format: it has no blocks of {given.block_size} bytes; it has {known}")


def _format(given: argparse.Namespace) -> Conversation[Shown]:
    if given.lbaf is not None and given.block_size:
        raise UsageError("format: give --lbaf or --block-size, not both")
    lbaf = yield from _lba_format(given)
    cdw10 = (
        lbaf & 0xF
        | given.ms << 4
        | given.pi << 5
        | given.pil << 8
        | given.ses << 9
        | (lbaf >> 4) << 12
    )
    timeout_s = given.timeout / 1000 or _FORMAT_S
    command = NvmeCommand(
        AdminOpcode.FORMAT_NVM,
        given.namespace_id,
        cdw10=cdw10,
        admin=True,
        timeout_s=timeout_s,
    )
    yield from succeed(command, "format")
    if given.reset:
        yield Reset()
    return Shown((f"Success formatting namespace:{given.namespace_id:x}",))


def _action(text: str) -> int:
    if text in _SANITIZE:
        return _SANITIZE[text]
    value = number(3)(text)
    if value not in _SANITIZE.values():
        raise argparse.ArgumentTypeError(f"{text!r} is unknown; known: {', '.join(_SANITIZE)}")
    return value


def _sanitize(given: argparse.Namespace) -> Conversation[Shown]:
    if given.sanact != _OVERWRITE and (given.owpass or given.oipbp or given.ovrpat):
        raise UsageError("sanitize: --owpass, --oipbp and --ovrpat are of --sanact start-overwrite")
    cdw10 = (
        given.sanact
        | given.ause << 3
        | given.owpass << 4
        | given.oipbp << 8
        | given.no_dealloc << 9
    )
    command = NvmeCommand(AdminOpcode.SANITIZE, cdw10=cdw10, cdw11=given.ovrpat, admin=True)
    yield from succeed(command, "sanitize")
    if not given.wait:
        return Shown(("the operation has begun; see: scsi2nvme sanitize-log",))
    if given.sanact == _SANITIZE["exit-failure"]:
        return Shown(("the failure is behind it",))
    status = yield from _sanitize_status()
    while status.state == _SANITIZING:
        yield Done(status.sprog / 65536)
        yield Pause(_POLL_S)
        status = yield from _sanitize_status()
    if status.state == _SANITIZE_FAILED:
        raise OperationError("sanitize: the operation has failed; see: scsi2nvme sanitize-log")
    return Shown(("all that was on the disk is erased",))


def _sanitize_status() -> Conversation[Values]:
    size = SANITIZE_STATUS.size
    return SANITIZE_STATUS.parse((yield from log_pages(SANITIZE_STATUS_LOG, size, retain=True)))


def _self_test(given: argparse.Namespace) -> Conversation[Shown]:
    code = given.self_test_code
    lines: tuple[str, ...] = ()
    if code:
        command = NvmeCommand(
            AdminOpcode.DEVICE_SELF_TEST, given.namespace_id, cdw10=code, admin=True
        )
        yield from succeed(command, "device-self-test")
        lines = (_STARTED.get(code, f"Device self-test {code:#x} started"),)
    operation, done = yield from _under_way()
    while given.wait and operation:
        yield Done(done / 100)
        yield Pause(_POLL_S)
        operation, done = yield from _under_way()
    if not code:
        lines = (f"progress {done}%",) if operation else ("no self test running",)
    return Shown(lines, {"operation": operation, "completion": done})


def _under_way() -> Conversation[tuple[int, int]]:
    """Return which self-test is under way, and how many percent of it are done."""
    raw = yield from log_pages(SELF_TEST_LOG, 4)
    return raw[0] & 0xF, raw[1] & 0x7F


def _below(limit: int) -> Callable[[str], int]:
    read = number(8)

    def checked(text: str) -> int:
        value = read(text)
        if value >= limit:
            raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and {limit - 1}")
        return value

    return checked


def _disks_data(given: argparse.Namespace) -> str:
    return "" if given.sanact == _SANITIZE["exit-failure"] else "all data"


ROWS = (
    Row(
        "format",
        "format a namespace, and erase all that is in it",
        "Format a namespace: all data in it are gone. While a daemon serves it, it wants --force: "
        "its logical units are not ready until it is done, and initiators are told of the change.",
        (
            Option(
                "namespace-id",
                "n",
                "namespace; 0xFFFFFFFF: all",
                number(),
                None,
                "NSID",
                required=True,
            ),
            TIMEOUT,
            Option("lbaf", "l", "LBA format (default: what it has)", _below(64), None),
            Option("ses", "s", "secure erase: 0 none, 1 user data, 2 cryptographic", _below(3)),
            Option("pi", "i", "protection information type", _below(4)),
            Option("pil", "p", "1: in the first 8 bytes of metadata", _below(2)),
            Option("ms", "m", "1: metadata at the end of each block", _below(2)),
            flag("reset", "r", "reset the controller afterwards"),
            FORCE,
            Option("block-size", "b", "bytes of a block, in place of --lbaf"),
        ),
        _format,
        always,
        destroys=namespaces_data,
    ),
    Row(
        "sanitize",
        "erase all of a disk for good",
        "Begin a sanitize operation: nothing that ever was on the disk can be read afterwards. "
        "While a daemon serves it, it wants --force.",
        (
            flag("no-dealloc", "d", "leave blocks allocated"),
            flag("oipbp", "i", "invert the pattern between passes"),
            Option("owpass", "n", "passes of overwriting; 0: 16", _below(16)),
            flag("ause", "u", "what fails may be left without another sanitize operation"),
            Option(
                "sanact",
                "a",
                ", ".join(f"{n} {name}" for name, n in _SANITIZE.items()),
                _action,
                None,
                "ACTION",
                required=True,
            ),
            Option("ovrpat", "p", "pattern to overwrite with"),
            FORCE,
            flag("wait", "w", "until it has ended"),
        ),
        _sanitize,
        always,
        destroys=_disks_data,
    ),
    Row(
        "device-self-test",
        "have a controller test itself",
        "Begin or abort a controller's self-test, or show how far one has come.",
        (
            namespace_id(ALL_NAMESPACES),
            Option(
                "self-test-code",
                "s",
                "0 show, 1 short, 2 extended, 0xE vendor's, 0xF abort (default: 0)",
                number(4),
            ),
            flag("wait", "w", "until it has ended"),
        ),
        _self_test,
        always,
    ),
)
