"""`get-feature` and `set-feature`. Spec: NVMe Base 2.0c 5.15, 5.27."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from scsi2nvme.cli.errors import UsageError
from scsi2nvme.cli.passing.conversation import Conversation, Shown, succeed
from scsi2nvme.cli.passing.data import given_data
from scsi2nvme.cli.passing.row import (
    FORCE,
    HUMAN_READABLE,
    OUTPUT_FORMAT,
    RAW_BINARY,
    Option,
    Row,
    always,
    flag,
    namespace_id,
    number,
)
from scsi2nvme.cli.passing.shown import fields_of, hex_dump
from scsi2nvme.drivers.nvme import admin
from scsi2nvme.nvme import features
from scsi2nvme.nvme.command import Completion, NvmeCommand

_SELECTED = {0: "Current", 1: "Default", 2: "Saved", 3: "Supported capabilities", 8: "Changed"}
_CAPABILITIES = {0: "saveable", 1: "namespace specific", 2: "changeable"}
_SUPPORTED = 3
_HOST_IDENTIFIER, _EXTENDED = 0x81, 1


def _name(fid: int) -> str:
    row = features.BY_FID.get(fid)
    return "Unknown" if row is None else row.name


def _data_bytes(given: argparse.Namespace, fid: int) -> int:
    """Return how much data is asked for: what was given, else what the feature has."""
    if given.data_len is not None or given.sel == _SUPPORTED:
        return int(given.data_len or 0)
    if fid == _HOST_IDENTIFIER and given.cdw11 & _EXTENDED:
        return 16
    row = features.BY_FID.get(fid)
    return 0 if row is None else row.data_bytes


def _get(given: argparse.Namespace, fid: int) -> NvmeCommand:
    command = admin.get_features(
        fid,
        nsid=given.namespace_id,
        select=given.sel,
        cdw11=given.cdw11,
        data_in=_data_bytes(given, fid),
    )
    return replace(command, cdw14=given.uuid_index)


def _lines(given: argparse.Namespace, fid: int, got: Completion) -> Iterator[str]:
    told = _SELECTED.get(given.sel, "Selected")
    yield f"get-feature:{fid:#04x} ({_name(fid)}), {told} value:{got.dw0:#010x}"
    row = features.BY_FID.get(fid)
    if given.human_readable and given.sel == _SUPPORTED:
        for bit, name in _CAPABILITIES.items():
            yield f"\tFeature is {'' if got.dw0 >> bit & 1 else 'not '}{name}"
    elif given.human_readable and row is not None:
        yield from fields_of(row.value.parse(got.dw0.to_bytes(4, "little")))
    yield from hex_dump(got.data)


def _as_json(given: argparse.Namespace, fid: int, got: Completion) -> dict[str, Any]:
    row = features.BY_FID.get(fid)
    shown: dict[str, Any] = {"feature": fid, "name": _name(fid), "value": got.dw0}
    if row is not None and given.sel != _SUPPORTED:
        shown["fields"] = dict(row.value.parse(got.dw0.to_bytes(4, "little")))
    return shown | ({"data": got.data.hex()} if got.data else {})


def _get_feature(given: argparse.Namespace) -> Conversation[Shown]:
    if given.feature_id is not None:
        got = yield from succeed(_get(given, given.feature_id), "get-feature")
        lines = tuple(_lines(given, given.feature_id, got))
        raw = got.data or got.dw0.to_bytes(4, "little")
        return Shown(lines, _as_json(given, given.feature_id, got), raw)
    lines, rows, raw = (), [], b""
    for row in features.ROWS:  # those that the controller has
        got = yield _get(given, row.fid)
        if not got.status:
            lines += tuple(_lines(given, row.fid, got))
            rows.append(_as_json(given, row.fid, got))
            raw += got.data
    return Shown(lines, {"features": rows}, raw)


def _set_feature(given: argparse.Namespace) -> Conversation[Shown]:
    if given.value is None and not given.data_len:
        raise UsageError("set-feature: give --value, or --data-len and --data")
    value = given.value or 0
    data = given_data(given.data, given.data_len) if given.data_len else b""
    command = replace(
        admin.set_features(
            given.feature_id, value, nsid=given.namespace_id, save=given.save, data_out=data
        ),
        cdw12=given.cdw12,
        cdw14=given.uuid_index,
    )
    done = yield from succeed(command, "set-feature")
    line = (
        f"set-feature:{given.feature_id:#04x} ({_name(given.feature_id)}), value:{value:#010x}, "
        f"cdw12:{given.cdw12:#010x}, save:{int(given.save):#x}"
    )
    json = {"feature": given.feature_id, "value": value, "result": done.dw0}
    return Shown((line, *hex_dump(data)), json)


_UUID_INDEX = Option("uuid-index", "U", "UUID index", number(7))
_NSID = namespace_id(0, "namespace, of features that namespaces have")

ROWS = (
    Row(
        "get-feature",
        "show a controller's settings",
        "Show a feature of a controller, or all that are known to have a name here.",
        (
            Option("feature-id", "f", "feature (default: all)", number(8), None, "FID"),
            _NSID,
            Option("sel", "s", "0 current, 1 default, 2 saved, 3 what is supported", number(3)),
            Option("data-len", "l", "bytes of data (default: as the feature has)", default=None),
            RAW_BINARY,
            Option("cdw11", "c", "dword 11 of the command"),
            _UUID_INDEX,
            HUMAN_READABLE,
            OUTPUT_FORMAT,
        ),
        _get_feature,
    ),
    Row(
        "set-feature",
        "change a controller's settings",
        "Set a feature of a controller. Of a running daemon's it is set again after a reset.",
        (
            Option("feature-id", "f", "feature", number(8), None, "FID", required=True),
            _NSID,
            Option("value", "v", "its new value, dword 11", default=None),
            Option("cdw12", "c", "dword 12 of the command"),
            _UUID_INDEX,
            Option("data-len", "l", "bytes of data"),
            Option("data", "d", "file of the data (default: standard input)", str, "-", "FILE"),
            flag("save", "s", "also after a power cycle"),
            FORCE,
        ),
        _set_feature,
        always,
    ),
)
