"""Log pages. Spec: NVMe Base 2.0c 5.16."""

from __future__ import annotations

import argparse
import contextlib
import struct
from collections.abc import Iterator
from typing import Any

from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.cli.passing.conversation import Conversation, Shown, log_pages, succeed
from scsi2nvme.cli.passing.row import (
    ALL_NAMESPACES,
    HUMAN_READABLE,
    OUTPUT_FORMAT,
    RAW_BINARY,
    RETAIN,
    Option,
    Row,
    always,
    flag,
    namespace_id,
    number,
)
from scsi2nvme.cli.passing.shown import fields_of, hex_dump
from scsi2nvme.drivers.nvme.admin import LogPage
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.effects import EFFECTS_LOG, EFFECTS_LOG_BYTES, OPCODES, effects_at
from scsi2nvme.nvme.lba_status import DESCRIPTOR as LBA_STATUS
from scsi2nvme.nvme.lba_status import HEADER as LBA_STATUS_LIST
from scsi2nvme.nvme.lba_status import Action
from scsi2nvme.nvme.log_structures import (
    LBA_RANGE,
    LBA_STATUS_INFORMATION,
    LBA_STATUS_LOG,
    LBA_STATUS_NAMESPACE,
    PERSISTENT_EVENT,
    PERSISTENT_EVENT_HEADER,
    PERSISTENT_EVENT_LOG,
    SANITIZE_STATUS,
    SANITIZE_STATUS_LOG,
    SELF_TEST_LOG,
    TELEMETRY_CONTROLLER,
    TELEMETRY_HEADER,
    TELEMETRY_HOST,
)
from scsi2nvme.nvme.persistent_events import EVENTS
from scsi2nvme.nvme.persistent_events import Action as ContextAction
from scsi2nvme.nvme.structures import SELF_TEST_RESULT

_CHANGED_BYTES = 4096
_PAGE_DWORDS = 1024
_TOO_MANY = 0xFFFFFFFF
_BLOCK = 512  # of telemetry
_RESULTS = 20  # of the self-test log
_UNUSED = 0xF
_UNKNOWN_RANGES = 0xFFFFFFFF
_ASCII = frozenset({"sn", "mn", "subnqn", "fw_rev", "old_fw_rev", "new_fw_rev"})
# What this program reads of a telemetry log, or a persistent event log, at most.
MOST_BYTES = 256 << 20


def _get_log(given: argparse.Namespace) -> Conversation[Shown]:
    if not given.log_len:
        raise UsageError("get-log: give --log-len, the number of bytes")
    lid = given.log_id if given.aen is None else given.aen >> 16 & 0xFF
    if lid is None:
        raise UsageError("get-log: give --log-id")
    raw = yield from log_pages(
        lid,
        given.log_len,
        nsid=given.namespace_id,
        offset=given.lpo,
        retain=given.rae,
        lsp=given.lsp,
        more={
            "cdw11": given.lsi << 16,
            "cdw14": given.uuid_index | given.ot << 23 | given.csi << 24,
        },
    )
    head = f"log-id:{lid} namespace-id:{given.namespace_id:#x}"
    return Shown((head, *hex_dump(raw)), {"log_id": lid, "data": raw.hex()}, raw)


def _changed_ns(given: argparse.Namespace) -> Conversation[Shown]:
    raw = yield from log_pages(LogPage.CHANGED_NAMESPACES, _CHANGED_BYTES)
    nsids = [nsid for nsid in struct.unpack("<1024I", raw) if nsid]
    if nsids == [_TOO_MANY]:
        return Shown(("more than 1024 ns changed",), {"num_changed_namespaces": -1}, raw)
    lines = tuple(f"[{place:4}]:{nsid:#x}" for place, nsid in enumerate(nsids))
    json = {
        "num_changed_namespaces": len(nsids),
        "namespace_list": [{"nsid": nsid} for nsid in nsids],
    }
    return Shown(lines, json, raw)


def _effects(given: argparse.Namespace) -> Conversation[Shown]:
    more = {"cdw14": given.csi << 24}
    raw = yield from log_pages(EFFECTS_LOG, EFFECTS_LOG_BYTES, nsid=0, more=more)
    lines: list[str] = []
    json: dict[str, Any] = {"command_set_identifier": given.csi}
    for title, prefix, key, is_admin in (
        ("Admin Commands", "ACS", "admin_cmd_set", True),
        ("NVM Commands", "IOCS", "io_cmd_set", False),
    ):
        lines.append(title)
        json[key] = {}
        for opcode in range(OPCODES):
            effects = effects_at(raw, opcode, admin=is_admin)
            if not effects.csupp:
                continue
            name = NvmeCommand(opcode, admin=is_admin).name
            value = int.from_bytes(effects.raw, "little")
            lines.append(f"{prefix}{opcode:<6}[{name:<32}] {value:08x}")
            lines += fields_of(effects) if given.human_readable else ()
            json[key][f"{prefix}_{opcode} ({name})"] = value
    return Shown(tuple(lines), [json], raw)


def _sanitize_log(given: argparse.Namespace) -> Conversation[Shown]:
    size = SANITIZE_STATUS.size
    raw = yield from log_pages(SANITIZE_STATUS_LOG, size, retain=given.rae)
    values = SANITIZE_STATUS.parse(raw)
    lines = [f"{name:<28}: {values[name]:#x}" for name in values]
    if given.human_readable:
        lines = list(fields_of(values))
        lines.append(f"\tprogress: {100 * values.sprog / 65536:.2f}%")
    plain = {name: value for name, value in values.items() if name not in _SSTAT}
    json = {**plain, "sstat": {key: values[name] for name, key in _SSTAT.items()}}
    return Shown(tuple(lines), json, raw)


_SSTAT = {"state": "status", "passes": "no_cmplted_passes", "global_erased": "global_erased"}


def _self_test_log(given: argparse.Namespace) -> Conversation[Shown]:
    size = SELF_TEST_RESULT.size
    raw = yield from log_pages(SELF_TEST_LOG, 4 + size * min(given.dst_entries, _RESULTS))
    results = [SELF_TEST_RESULT.parse(raw[at : at + size]) for at in range(4, len(raw), size)]
    valid = [result for result in results if result.result != _UNUSED]
    operation, completion = raw[0] & 0xF, raw[1] & 0x7F
    lines = [f"Current operation  : {operation:#x}", f"Current Completion : {completion}%"]
    for place, result in enumerate(valid):
        lines.append(f"Self Test Result[{place}]:")
        lines += [f"  {key:<28}: {value:#x}" for key, value in _result(result).items()]
    json = {
        "Current Device Self-Test Operation": operation,
        "Current Device Self-Test Completion": completion,
        "List of Valid Reports": [_result(result) for result in valid],
    }
    return Shown(tuple(lines), json, raw)


def _result(result: Values) -> dict[str, int]:
    """Return a result as nvme-cli names its fields: those that are valid."""
    shown = {
        "Self test result": result.result,
        "Self test code": result.code,
        "Segment number": result.segment,
        "Valid Diagnostic Information": result.valid,
        "Power on hours": result.poh,
    }
    for bit, key, name in (
        (0, "Namespace Identifier", "nsid"),
        (1, "Failing LBA", "flba"),
        (2, "Status Code Type", "sct"),
        (3, "Status Code", "sc"),
    ):
        if result.valid >> bit & 1:
            shown[key] = result[name]
    return shown


def _telemetry(given: argparse.Namespace) -> Conversation[Shown]:
    if not 1 <= given.data_area <= 4:
        raise UsageError("telemetry-log: --data-area is 1, 2, 3 or 4")
    lid = TELEMETRY_CONTROLLER if given.controller_init else TELEMETRY_HOST
    create = bool(given.host_generate) and not given.controller_init
    head = yield from log_pages(lid, TELEMETRY_HEADER.size, retain=True, lsp=int(create))
    header = TELEMETRY_HEADER.parse(head)
    if given.controller_init and not header.available:
        raise OperationError("telemetry-log: the controller has collected nothing by itself")
    last = header[f"area{given.data_area}_last"] or header[f"area{min(given.data_area, 3)}_last"]
    rest = last * _BLOCK
    if rest > MOST_BYTES:
        raise OperationError(f"telemetry-log: {rest} bytes, at most {MOST_BYTES} are read")
    data = yield from log_pages(lid, rest, offset=_BLOCK) if rest else _nothing()
    again = yield from log_pages(lid, TELEMETRY_HEADER.size, retain=True)
    if TELEMETRY_HEADER.parse(again).generation != header.generation:
        raise OperationError("telemetry-log: it was made anew while it was read; try again")
    raw = head + data
    line = f"{len(raw)} bytes are in {given.output_file}"
    return Shown((line,), {"bytes": len(raw)}, raw, file=given.output_file)


def _nothing() -> Conversation[bytes]:
    yield from ()
    return b""


def _events(raw: bytes, header: Values) -> Iterator[dict[str, Any]]:
    at = PERSISTENT_EVENT_HEADER.size
    for _ in range(header.total_num_of_events):
        if at + PERSISTENT_EVENT.size > len(raw):
            return
        event = PERSISTENT_EVENT.parse(raw[at:])
        start = at + event.event_header_len + 3
        if start < at + PERSISTENT_EVENT.size:
            return  # what follows is none
        at = start + event.event_len
        data = raw[start:at]
        row = EVENTS.get(event.event_type)
        told: dict[str, Any] = {"event_name": "unknown" if row is None else row.name}
        if row is not None and row.layout is not None and len(data) >= row.layout.size:
            told["fields"] = _readable(row.layout.parse(data[: row.layout.size]))
        yield {**event, **told, "data": data.hex()}


def _readable(values: Values) -> dict[str, Any]:
    """Return fields as numbers, and those that hold ASCII as text."""
    return {
        name: values.bytes(name).rstrip(b" \0").decode("ascii", "replace")
        if name in _ASCII
        else value
        for name, value in values.items()
    }


def _event_lines(place: int, event: dict[str, Any]) -> Iterator[str]:
    yield (
        f"Event[{place}]: type {event['event_type']:#x} ({event['event_name']}) "
        f"at {event['event_timestamp']} ms"
    )
    for name, value in event.get("fields", {}).items():
        yield f"  {name:<24}: {value}"
    if "fields" not in event:
        yield from hex_dump(bytes.fromhex(event["data"]))


def _release_context() -> Conversation[None]:
    size = PERSISTENT_EVENT_HEADER.size
    yield from log_pages(PERSISTENT_EVENT_LOG, size, lsp=ContextAction.RELEASE)


def _established_events(given: argparse.Namespace, first: ContextAction) -> Conversation[bytes]:
    """Return as much of the log as is wanted, at least its header."""
    size = PERSISTENT_EVENT_HEADER.size
    head = yield from log_pages(PERSISTENT_EVENT_LOG, size, lsp=first)
    try:
        whole = PERSISTENT_EVENT_HEADER.parse(head).total_log_len
        length = min(given.log_len or whole, whole)
        if length > MOST_BYTES:
            raise OperationError(
                f"persistent-event-log: {length} bytes, at most {MOST_BYTES} are read"
            )
        if length > size:
            lsp, rest = ContextAction.READ, length - size
            head += yield from log_pages(PERSISTENT_EVENT_LOG, rest, offset=size, lsp=lsp)
    except (KeyboardInterrupt, OperationError):
        if given.action is None:  # else nobody could establish one any more
            with contextlib.suppress(OperationError):
                yield from _release_context()
        raise
    if given.action is None:
        yield from _release_context()
    return head


def _persistent_events(given: argparse.Namespace) -> Conversation[Shown]:
    action = ContextAction.ESTABLISH if given.action is None else given.action
    if action == ContextAction.RELEASE:
        yield from _release_context()
        return Shown(("the context is released",), {"released": True})
    raw = yield from _established_events(given, action)
    header = PERSISTENT_EVENT_HEADER.parse(raw)
    events = list(_events(raw, header))
    told = _readable(header)
    length = min(given.log_len or header.total_log_len, header.total_log_len)
    lines = [f"{name:<22}: {value}" for name, value in told.items()]
    for place, event in enumerate(events):
        lines += _event_lines(place, event)
    json = {**told, "list_of_event_entries": events}
    return Shown(tuple(lines), json, raw[:length])


def _lba_status(given: argparse.Namespace) -> Conversation[Shown]:
    size = 4 * (given.max_dw + 1)
    if size < LBA_STATUS_LIST.size:
        raise UsageError("get-lba-status: --max-dw is at least 1: two dwords tell of the rest")
    command = NvmeCommand(
        AdminOpcode.GET_LBA_STATUS,
        given.namespace_id,
        cdw10=given.start_lba & 0xFFFFFFFF,
        cdw11=given.start_lba >> 32,
        cdw12=given.max_dw,
        cdw13=given.range_len | given.action << 24,
        data_in=size,
        admin=True,
    )
    raw = (yield from succeed(command, "get-lba-status")).data
    header = LBA_STATUS_LIST.parse(raw[: LBA_STATUS_LIST.size])
    places = range(LBA_STATUS_LIST.size, len(raw) - LBA_STATUS.size + 1, LBA_STATUS.size)
    found = [LBA_STATUS.parse(raw[at : at + LBA_STATUS.size]) for at in places[: header.nlsd]]
    shown = [{"dslba": one.dslba, "nlb": one.nlb, "status": one.raw[13]} for one in found]
    lines = [f"Number of LBA Status Descriptors: {header.nlsd}, completion: {header.cmpc:#x}"]
    for place, each in enumerate(shown):
        told = " ".join(f"{name}: {value:#x}" for name, value in each.items())
        lines.append(f"[{place:4}] {told}")
    json = {"nlsd": header.nlsd, "cmpc": header.cmpc, "descriptors": shown}
    return Shown(tuple(lines), json, raw)


def _lba_status_log(given: argparse.Namespace) -> Conversation[Shown]:
    """Show the log as a whole; it ends where its length says, or its elements do."""
    size = LBA_STATUS_INFORMATION.size
    raw = yield from log_pages(LBA_STATUS_LOG, size, nsid=0, retain=True)
    length = LBA_STATUS_INFORMATION.parse(raw).lslplen
    if length > MOST_BYTES:
        raise OperationError(f"lba-status-log: {length} bytes, at most {MOST_BYTES} are read")
    length = max(length, size)
    raw = yield from log_pages(LBA_STATUS_LOG, length, nsid=0, retain=given.rae)
    head = LBA_STATUS_INFORMATION.parse(raw)
    elements = list(_suspects(raw, head.nlslne))
    lines = [f"{name:<8}: {value}" for name, value in head.items()]
    for element in elements:
        ranges = element["descs"]
        lines.append(f"nsid {element['neid']}: action {element['ratype']:#x}, {len(ranges)} ranges")
        lines += [f"  RSLBA: {one['rslba']:#x} RNLB: {one['rnlb']}" for one in ranges]
    return Shown(tuple(lines), {**head, "ns_elements": elements}, raw)


def _suspects(raw: bytes, count: int) -> Iterator[dict[str, Any]]:
    """Yield namespaces with ranges whose blocks may be unreadable, as far as the log goes."""
    at, element_size, size = LBA_STATUS_INFORMATION.size, LBA_STATUS_NAMESPACE.size, LBA_RANGE.size
    for _ in range(count):
        start = at + element_size
        if start > len(raw):
            return
        element = LBA_STATUS_NAMESPACE.parse(raw[at:start])
        # All ones: nobody knows which blocks, so that no range is listed.
        listed = 0 if element.nlrd == _UNKNOWN_RANGES else element.nlrd
        at = start + listed * size
        places = range(start, min(at, len(raw) - size + 1), size)
        ranges = [dict(LBA_RANGE.parse(raw[each : each + size])) for each in places]
        yield {**element, "descs": ranges}


_LOG_LEN = Option("log-len", "l", "bytes to read")

ROWS = (
    Row(
        "get-log",
        "read any log page",
        "Read a log page, by its identifier, 4 KiB at a time.",
        (
            namespace_id(ALL_NAMESPACES),
            Option("log-id", "i", "log page", number(8), None, "LID"),
            _LOG_LEN,
            Option("aen", "a", "an event's dword 0, which names the log page", default=None),
            Option("lpo", "o", "first byte (default: 0)", number(64)),
            Option("lsp", "s", "log specific field", number(7)),
            Option("lsi", "S", "log specific identifier", number(16)),
            RETAIN,
            Option("uuid-index", "U", "UUID index", number(7)),
            RAW_BINARY,
            Option("csi", "y", "command set identifier", number(8)),
            flag("ot", "O", "--lpo is an index, not bytes"),
        ),
        _get_log,
    ),
    Row(
        "changed-ns-list-log",
        "list namespaces that have changed",
        "Show the Changed Namespace List, which begins anew when it is read; but a daemon's goes "
        "on, as that reads it itself.",
        (OUTPUT_FORMAT, RAW_BINARY),
        _changed_ns,
    ),
    Row(
        "effects-log",
        "show which commands there are, and what they change",
        "Show the Commands Supported and Effects log.",
        (
            OUTPUT_FORMAT,
            HUMAN_READABLE,
            RAW_BINARY,
            Option("csi", "c", "command set identifier", number(8)),
        ),
        _effects,
    ),
    Row(
        "get-lba-status",
        "list blocks that may be unreadable, or are allocated",
        "List blocks that a controller knows to be unreadable, or that are allocated "
        "(Get LBA Status). Numbers of blocks (nlb) count from zero.",
        (
            namespace_id(1),
            Option("start-lba", "s", "first block", number(64)),
            Option("max-dw", "m", "dwords to read, less one", number(20), _PAGE_DWORDS - 1),
            Option(
                "action",
                "a",
                "0x11 those that are known to be unreadable (default), 0x10 look for others, "
                "0x2 those that are allocated",
                number(8),
                Action.TRACKED,
            ),
            Option("range-len", "l", "blocks to look at (default: all)", number(16)),
            OUTPUT_FORMAT,
            RAW_BINARY,
        ),
        _lba_status,
        always,
    ),
    Row(
        "lba-status-log",
        "list blocks that should be looked at",
        "Show the LBA Status Information log: ranges of blocks that get-lba-status should be "
        "asked of.",
        (RETAIN, OUTPUT_FORMAT),
        _lba_status_log,
    ),
    Row(
        "sanitize-log",
        "show how far a sanitize operation has come",
        "Show the Sanitize Status log.",
        (RETAIN, OUTPUT_FORMAT, HUMAN_READABLE, RAW_BINARY),
        _sanitize_log,
    ),
    Row(
        "self-test-log",
        "show what self-tests have found",
        "Show the Device Self-test log.",
        (Option("dst-entries", "e", "results (default: 20)", number(8), _RESULTS), OUTPUT_FORMAT),
        _self_test_log,
    ),
    Row(
        "telemetry-log",
        "write a controller's telemetry to a file",
        "Write a controller's telemetry, which only its vendor can read, to a file that nobody "
        "else may read: it may hold what was written to the disk.",
        (
            Option("output-file", "o", "where it goes", str, None, "FILE", required=True),
            Option("host-generate", "g", "1: have it made now, 0: what there is", default=1),
            flag("controller-init", "c", "what the controller has collected by itself"),
            Option("data-area", "d", "up to which data area (default: 3)", default=3),
        ),
        _telemetry,
        always,
    ),
    Row(
        "persistent-event-log",
        "show what has happened to a controller",
        "Show the Persistent Event log, as a whole unless an action is given.",
        (
            Option(
                "action", "a", "0 read, 1 establish context and read, 2 release", number(2), None
            ),
            Option("log_len", "l", "bytes to read (default: all)"),
            OUTPUT_FORMAT,
            RAW_BINARY,
        ),
        _persistent_events,
        always,
    ),
)
