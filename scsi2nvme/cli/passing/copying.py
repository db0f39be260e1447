"""Copy: a controller copies blocks by itself. Spec: NVM Command Set 1.0c 3.2.2."""

from __future__ import annotations

import argparse
from itertools import repeat

from scsi2nvme.cli.errors import UsageError
from scsi2nvme.cli.passing.conversation import Conversation, Shown, succeed
from scsi2nvme.cli.passing.row import (
    FORCE,
    Option,
    Row,
    always,
    flag,
    namespace_id,
    number,
    numbers,
    only_zero,
)
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.nvme.copying import SOURCE_RANGE

_RANGES = 256


def _ranges(given: argparse.Namespace) -> bytes:
    """Return the source ranges; UsageError where the lists do not agree."""
    count = len(given.slbs)
    lists = {"blocks": given.blocks}
    for name in ("expected_ref_tags", "expected_app_tags", "expected_app_tag_masks"):
        lists[name] = getattr(given, name)
    for name, values in lists.items():
        if (values or name == "blocks") and len(values) != count:
            option = name.replace("_", "-")
            raise UsageError(f"copy: --{option} has {len(values)} numbers, --slbs has {count}")
    if count > _RANGES:
        raise UsageError(f"copy: {count} ranges, at most {_RANGES}")
    columns = (values or repeat(0, count) for values in lists.values())
    return b"".join(
        SOURCE_RANGE.build(slba=slba, nlb=nlb, eilbrt=reference, elbat=tag, elbatm=mask)
        for slba, nlb, reference, tag, mask in zip(given.slbs, *columns, strict=True)
    )


def _copy(given: argparse.Namespace) -> Conversation[Shown]:
    command = NvmeCommand(
        Opcode.COPY,
        given.namespace_id,
        cdw10=given.sdlba & 0xFFFFFFFF,
        cdw11=given.sdlba >> 32,
        cdw12=len(given.slbs) - 1
        | given.prinfor << 12
        | given.dir_type << 20
        | given.prinfow << 26
        | given.force_unit_access << 30
        | given.limited_retry << 31,
        cdw13=given.dir_spec << 16,
        cdw14=given.ref_tag,
        cdw15=given.app_tag | given.app_tag_mask << 16,
        data_out=_ranges(given),
    )
    yield from succeed(command, "copy")
    return Shown(("NVMe Copy: success",))


ROWS = (
    Row(
        "copy",
        "have a controller copy blocks",
        "Copy ranges of blocks, one behind the other, to others of the same namespace. While a "
        "daemon serves it, it wants --force.",
        (
            namespace_id(),
            Option("sdlba", "d", "first block that is written", number(64), None, required=True),
            Option(
                "slbs",
                "s",
                "first blocks, between commas",
                numbers(64),
                None,
                "LIST",
                required=True,
            ),
            Option(
                "blocks",
                "b",
                "block counts, each less one, between commas",
                numbers(16),
                None,
                "LIST",
                required=True,
            ),
            flag("limited-retry", "l", "have the controller try less hard"),
            flag("force-unit-access", "f", "to the medium itself"),
            Option("prinfow", "p", "protection information of what is written", number(4)),
            Option("prinfor", "P", "protection information of what is read", number(4)),
            Option("ref-tag", "r", "reference tag"),
            Option("expected-ref-tags", "R", "of each range", numbers(32), (), "LIST"),
            Option("app-tag", "a", "application tag", number(16)),
            Option("expected-app-tags", "A", "of each range", numbers(16), (), "LIST"),
            Option("app-tag-mask", "m", "application tag mask", number(16)),
            Option("expected-app-tag-masks", "M", "of each range", numbers(16), (), "LIST"),
            Option("dir-type", "T", "directive: 1 Streams", number(4)),
            Option("dir-spec", "S", "of the directive, as a stream", number(16)),
            Option("format", "F", "0", only_zero("other descriptors are not known here"), 0),
            FORCE,
        ),
        _copy,
        always,
    ),
)
