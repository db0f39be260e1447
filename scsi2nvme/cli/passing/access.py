"""By which ways namespaces are reached. Spec: NVMe Base 2.0c 5.16.1.13, 8.1."""

from __future__ import annotations

import argparse
import struct
from collections.abc import Iterator
from typing import Any

from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.passing.conversation import Conversation, Shown, log_pages, succeed
from scsi2nvme.cli.passing.row import OUTPUT_FORMAT, Row, flag
from scsi2nvme.drivers.nvme import admin
from scsi2nvme.nvme.ana import (
    ANA_GROUP,
    ANA_HEADER,
    ANA_LOG,
    GROUPS_ONLY,
    AnaState,
    has_ana,
    log_bytes,
)
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER

_MOST_NAMESPACES = 65536
_STATES: dict[int, str] = {each: each.name.lower().replace("_", "-") for each in AnaState}


def _groups(raw: bytes) -> Iterator[dict[str, Any]]:
    """Yield the groups of a log, as far as it goes."""
    at = ANA_HEADER.size
    for _ in range(ANA_HEADER.parse(raw).ngrps):
        start = at + ANA_GROUP.size
        if start > len(raw):
            return
        group = ANA_GROUP.parse(raw[at:start])
        known = min(group.nnsids, (len(raw) - start) // 4)
        yield {
            "grpid": group.grpid,
            "nnsids": group.nnsids,
            "chgcnt": group.chgcnt,
            "state": _STATES.get(group.state, "invalid state"),
            "NSIDS": [{"nsid": nsid} for nsid in struct.unpack_from(f"<{known}I", raw, start)],
        }
        at = start + 4 * group.nnsids


def _ana_log(given: argparse.Namespace) -> Conversation[Shown]:
    identified = yield from succeed(admin.identify(admin.CNS_CONTROLLER), "ana-log")
    controller = IDENTIFY_CONTROLLER.parse(identified.data)
    if not has_ana(controller):
        raise OperationError("ana-log: the controller reports no asymmetric namespace access")
    size, lsp = log_bytes(controller), GROUPS_ONLY
    if not given.groups:
        size += 4 * min(controller.mnan or controller.nn, _MOST_NAMESPACES)
        lsp = 0
    raw = yield from log_pages(ANA_LOG, size, nsid=0, lsp=lsp)
    head = ANA_HEADER.parse(raw)
    groups = list(_groups(raw))
    lines = [f"chgcnt : {head.chgcnt}", f"ngrps  : {head.ngrps}"]
    for group in groups:
        lines += [f"{name:<7}: {group[name]}" for name in ("grpid", "nnsids", "chgcnt", "state")]
        lines += [f"  nsid : {each['nsid']}" for each in group["NSIDS"]]
    json = {"chgcnt": head.chgcnt, "ngrps": head.ngrps, "ANA DESC LIST ": groups}
    return Shown(tuple(lines), json, raw)


ROWS = (
    Row(
        "ana-log",
        "show by which ways namespaces are reached",
        "Show the Asymmetric Namespace Access log: groups of namespaces, and their states.",
        (flag("groups", "g", "without their namespaces"), OUTPUT_FORMAT),
        _ana_log,
    ),
)
