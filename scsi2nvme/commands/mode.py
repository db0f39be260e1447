"""MODE SENSE and MODE SELECT, of both CDB lengths."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.commands import power
from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand, Opcode
from scsi2nvme.records import dataclass
from scsi2nvme.scsi.result import GOOD, CheckCondition, NvmeError, Result, Translation
from scsi2nvme.scsi.sense import (
    INVALID_FIELD_IN_PARAMETER_LIST,
    MODE_PARAMETERS_CHANGED,
    PARAMETER_LIST_LENGTH_ERROR,
    FieldPointer,
    Sense,
)
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.mode_pages import PAGES
from scsi2nvme.unit.mode_pages.informational_exceptions import INFORMATIONAL_EXCEPTIONS_CONTROL
from scsi2nvme.unit.mode_pages.page import PAGE_0, SUBPAGE, FeatureField, ModePage, PageControl
from scsi2nvme.unit.mode_pages.power_consumption import POWER_CONSUMPTION, most_powerful
from scsi2nvme.unit.reservations import Access

ALL_PAGES, ALL_SUBPAGES = 0x3F, 0xFF

_DEVICE_SPECIFIC = (("wp", 7, "write protected"), ("dpofua", 4, "DPO and FUA are supported"))
HEADER_6 = Structure(
    "Mode parameter header (6)",
    4,
    (
        Field("mode_data_length", 0),
        Field("medium_type", 1),
        *(Field(name, 2, bit, 1, doc) for name, bit, doc in _DEVICE_SPECIFIC),
        Field("block_descriptor_length", 3),
    ),
    spec="SPC-4 7.5.5, SBC-3 6.4.1",
)
HEADER_10 = Structure(
    "Mode parameter header (10)",
    8,
    (
        Field("mode_data_length", 0, 0, 16),
        Field("medium_type", 2),
        *(Field(name, 3, bit, 1, doc) for name, bit, doc in _DEVICE_SPECIFIC),
        Field("longlba", 4, 0, 1, "the block descriptor is long"),
        Field("block_descriptor_length", 6, 0, 16),
    ),
    spec="SPC-4 7.5.5, SBC-3 6.4.1",
)
SHORT_DESCRIPTOR = Structure(
    "Short LBA mode parameter block descriptor",
    8,
    (Field("blocks", 0, 0, 32), Field("block_bytes", 5, 0, 24)),
    spec="SBC-3 6.4.2.2",
)
LONG_DESCRIPTOR = Structure(
    "Long LBA mode parameter block descriptor",
    16,
    (Field("blocks", 0, 0, 64), Field("block_bytes", 12, 0, 32)),
    spec="SBC-3 6.4.2.3",
)

SELECT_SAVED = 1 << 31  # SV, CDW10 of Set Features
SAVEABLE, CHANGEABLE = 1 << 0, 1 << 2  # feature capabilities. Spec: NVMe Base 2.0 figure 195.
_SELECT = {PageControl.CURRENT: 0, PageControl.DEFAULT: 1, PageControl.SAVED: 2}
_CAPABILITIES = 3


# Pages


def _get_feature(lu: LogicalUnit, feature: FeatureField, select: int) -> NvmeCommand:
    """Spec: NVMe Base 2.0 5.15 (SEL)."""
    cdw10 = feature.identifier | select << 8
    nsid = lu.nsid if feature.per_namespace else 0
    return NvmeCommand(AdminOpcode.GET_FEATURES, nsid=nsid, cdw10=cdw10, admin=True)


def _capabilities(lu: LogicalUnit, feature: FeatureField) -> Generator[Any, Any, int]:
    """Ask what can be done with a feature; ONCS bit 4 says whether that can be asked."""
    if not lu.facts.controller_bit("oncs", 4):
        return CHANGEABLE
    completion = yield _get_feature(lu, feature, _CAPABILITIES)
    return int(completion.dw0)


def _feature_field(
    lu: LogicalUnit, page: ModePage, feature: FeatureField, control: PageControl
) -> Generator[Any, Any, tuple[int, bool]]:
    """Return what the field is that is a feature, and whether it can be saved."""
    capabilities = yield from _capabilities(lu, feature)
    saveable = bool(capabilities & SAVEABLE)
    if control is PageControl.CHANGEABLE:
        whole = page.layout.by_name[feature.field].maximum
        return whole if capabilities & CHANGEABLE else 0, saveable
    if control is PageControl.SAVED and not saveable:
        control = PageControl.DEFAULT
    select = _SELECT[control] if lu.facts.controller_bit("oncs", 4) else 0
    completion = yield _get_feature(lu, feature, select)
    return feature.shown(completion.dw0), saveable


def read_page(lu: LogicalUnit, page: ModePage, control: PageControl) -> Generator[Any, Any, bytes]:
    """Return a page as MODE SENSE does. Spec: SPC-4 6.11.1.

    A controller that cannot select values has none but the current ones.
    """
    values = bytearray(lu.mode.values(page, control))
    saveable = page.saveable
    feature = page.feature
    if feature is not None and feature.present(lu.facts):
        try:
            value, saved = yield from _feature_field(lu, page, feature, control)
        except NvmeError:
            if feature.needed:
                raise
        else:
            saveable = saveable or saved
            page.layout.write(values, **{feature.field: value})
    return page.with_header(bytes(values), saveable)


# MODE SENSE


def _supported(lu: LogicalUnit) -> list[ModePage]:
    return [page for page in PAGES if page.supported(lu.facts)]


def _wanted(task: Task) -> list[ModePage]:
    """Return the pages that the CDB names. Spec: SPC-4 6.11.1 table 161."""
    code, subpage = task.cdb.page_code, task.cdb.subpage_code
    pages = _supported(task.lu)
    if code == ALL_PAGES:
        if subpage not in (0, ALL_SUBPAGES):
            raise task.invalid_field("subpage_code")
        return [page for page in pages if subpage or not page.subpage]
    of_code = [page for page in pages if page.code == code]
    if not of_code:
        raise task.invalid_field("page_code")
    chosen = [page for page in of_code if subpage in (page.subpage, ALL_SUBPAGES)]
    if not chosen:
        raise task.invalid_field("subpage_code")
    return chosen


def _block_descriptor(lu: LogicalUnit, layout: Structure) -> bytes:
    """Spec: SBC-3 6.4.2. A block length set by MODE SELECT stands until FORMAT UNIT."""
    block_bytes = lu.mode.pending_block_bytes or lu.block_bytes
    blocks = lu.capacity_blocks * lu.block_bytes // block_bytes
    return layout.build(
        blocks=min(blocks, layout.by_name["blocks"].maximum), block_bytes=block_bytes
    )


def mode_sense(task: Task) -> Translation:
    """Spec: SPC-4 6.11 and 6.12; NVMe Base 2.0 5.15."""
    lu = task.lu
    pages = _wanted(task)
    control = PageControl(task.cdb.pc)
    long = bool(task.cdb.get("llbaa", 0))
    layout = LONG_DESCRIPTOR if long else SHORT_DESCRIPTOR
    descriptor = b"" if task.cdb.dbd else _block_descriptor(lu, layout)
    body = descriptor
    for page in pages:
        body += yield from read_page(lu, page, control)
    header, counted = (HEADER_6, 1) if task.command.length == 6 else (HEADER_10, 2)
    fields: dict[str, int] = {
        # Who asks for more than eight bits can tell has its first bytes.
        "mode_data_length": min(
            header.size - counted + len(body), header.by_name["mode_data_length"].maximum
        ),
        "wp": lu.write_protected,
        "dpofua": 1,
        "block_descriptor_length": len(descriptor),
    }
    if long and descriptor:
        fields["longlba"] = 1
    return Result(data_in=header.build(**fields) + body)


# Changes


@dataclass(frozen=True)
class _Change:
    """A page of a parameter list that has passed every check."""

    page: ModePage
    was: bytes
    values: bytes


def _invalid(byte: int, bit: int | None = None) -> CheckCondition:
    """Return the exception that refuses a byte of the parameter list."""
    pointer = FieldPointer(byte, bit, in_cdb=False)
    return CheckCondition(Sense(INVALID_FIELD_IN_PARAMETER_LIST, pointer=pointer))


def _piece(data: bytes, offset: int, size: int) -> bytes:
    """Return part of the parameter list, which must not be cut there. Spec: SPC-4 6.9."""
    if offset + size > len(data):
        raise CheckCondition(Sense(PARAMETER_LIST_LENGTH_ERROR))
    return data[offset : offset + size]


def _check_descriptor(lu: LogicalUnit, data: bytes, offset: int, long: bool) -> int:
    """Return the block length that a block descriptor asks for. Spec: SBC-3 6.4.2.

    It must be that of an LBA format without metadata, or with as much of it as now; the
    capacity is the controller's affair.
    """
    layout = LONG_DESCRIPTOR if long else SHORT_DESCRIPTOR
    asked = layout.parse(_piece(data, offset, layout.size))
    for byte, (value, allowed) in enumerate(zip(asked.raw, layout.mask, strict=True)):
        if value & ~allowed:
            raise _invalid(offset + byte)
    metadata = (0, lu.facts.lba_format.ms)
    lengths = {
        1 << each.lbads for each in lu.facts.lba_formats if each.lbads and each.ms in metadata
    }
    if asked.block_bytes not in lengths | {lu.block_bytes}:
        raise _invalid(offset + layout.by_name["block_bytes"].byte)
    capacity = lu.capacity_blocks * lu.block_bytes // asked.block_bytes
    maximum = layout.by_name["blocks"].maximum
    if asked.blocks not in (0, maximum, capacity, lu.capacity_blocks):
        raise _invalid(offset)
    return asked.block_bytes


def _check_page(
    lu: LogicalUnit, data: bytes, offset: int
) -> Generator[Any, Any, tuple[_Change, int]]:
    """Return what the page at `offset` changes, and where the next one starts.

    Spec: SPC-4 6.9 (a changed bit that is not changeable, a wrong length),
    7.5.7 (PS is reserved here, and not looked at).
    """
    first = PAGE_0.parse(_piece(data, offset, PAGE_0.size))
    layout = SUBPAGE if first.spf else PAGE_0
    header = layout.parse(_piece(data, offset, layout.size))
    subpage = header.get("subpage_code", 0)
    named = header.page_code, subpage
    page = next((p for p in _supported(lu) if (p.code, p.subpage) == named), None)
    if page is None or page.header is not layout:
        raise _invalid(offset, 5)
    if header.page_length != page.layout.size - layout.size:
        raise _invalid(offset + layout.by_name["page_length"].byte)
    wanted = _piece(data, offset, page.layout.size)
    was = yield from read_page(lu, page, PageControl.CURRENT)
    mask = yield from read_page(lu, page, PageControl.CHANGEABLE)
    for byte in range(layout.size, page.layout.size):
        wrong = (wanted[byte] ^ was[byte]) & ~mask[byte]
        if wrong:
            raise _invalid(offset + byte, wrong.bit_length() - 1)
    if name := page.wrong(page.layout.parse(wanted), lu):
        byte, bit = page.layout.by_name[name].highest_bit("big")
        raise _invalid(offset + byte, bit)
    bare = bytes(layout.size)
    change = _Change(page, bare + was[layout.size :], bare + wanted[layout.size :])
    return change, offset + page.layout.size


def _set_feature(
    lu: LogicalUnit, change: _Change, feature: FeatureField, save: bool
) -> Generator[Any, Any, None]:
    """Give the controller a feature's value. Spec: NVMe Base 2.0 5.27."""
    was, now = (change.page.layout.parse(v)[feature.field] for v in (change.was, change.values))
    if was == now and not (save and feature.needed):
        return
    capabilities = yield from _capabilities(lu, feature)
    saves = save and bool(capabilities & SAVEABLE)
    if was == now and not saves:
        return
    value = now
    if feature.per_namespace:  # other bits of it are not the page's
        completion = yield _get_feature(lu, feature, 0)
        value = feature.set(completion.dw0, now)
    nsid = lu.nsid if feature.per_namespace else 0
    cdw10 = feature.identifier | (SELECT_SAVED if saves else 0)
    yield NvmeCommand(AdminOpcode.SET_FEATURES, nsid=nsid, cdw10=cdw10, cdw11=value, admin=True)
    if feature.flushes and was and not now:
        # Spec: SBC-3 6.4.5: what the cache holds when WCE goes to zero reaches the medium.
        yield NvmeCommand(Opcode.FLUSH, nsid=lu.nsid)


def mode_select(task: Task) -> Translation:
    """Check the whole list, then apply it. Spec: SPC-4 6.9 and 6.10."""
    lu, data = task.lu, task.data_out
    if not data:
        return GOOD
    if not task.cdb.pf:
        raise task.invalid_field("pf")
    layout = HEADER_6 if task.command.length == 6 else HEADER_10
    header = layout.parse(_piece(data, 0, layout.size))
    if header.medium_type:
        raise _invalid(layout.by_name["medium_type"].byte)
    long = bool(header.get("longlba", 0))
    offset, length = layout.size, header.block_descriptor_length
    block_bytes = lu.mode.pending_block_bytes or lu.block_bytes
    asked = block_bytes
    if length:
        if length != (LONG_DESCRIPTOR if long else SHORT_DESCRIPTOR).size:
            raise _invalid(layout.by_name["block_descriptor_length"].byte)
        asked = _check_descriptor(lu, data, offset, long)
    offset += length
    changes: list[_Change] = []
    while offset < len(data):
        change, offset = yield from _check_page(lu, data, offset)
        changes.append(change)
    for change in changes:
        feature = change.page.feature
        if feature is not None and feature.present(lu.facts):
            yield from _set_feature(lu, change, feature, bool(task.cdb.sp))
        if change.page is POWER_CONSUMPTION:
            values = POWER_CONSUMPTION.layout.parse(change.values)
            yield from power.settle(lu, most_powerful(values, lu.facts))
    _apply(task, changes, asked, asked != block_bytes)
    return GOOD


def _apply(task: Task, changes: list[_Change], block_bytes: int, resized: bool) -> None:
    """Make checked changes current, save them if asked, and tell the other nexuses."""
    lu = task.lu
    lu.mode.pending_block_bytes = block_bytes if block_bytes != lu.block_bytes else None
    changed = [change for change in changes if change.values != change.was]
    for change in changed:
        if change.page.changeable:
            lu.mode.change(change.page, change.values)
    if any(change.page is INFORMATIONAL_EXCEPTIONS_CONTROL for change in changes):
        lu.exceptions.select()
    if changed or resized:
        lu.establish_attention(MODE_PARAMETERS_CHANGED, but=task.nexus)
    if any(_shared(change.page) for change in changed):
        for other in lu.siblings():  # they share the feature (MLUS)
            other.establish_attention(MODE_PARAMETERS_CHANGED, but=task.nexus)
    if task.cdb.sp:  # last: where it fails, the rest is done, and told
        lu.mode.save()


def _shared(page: ModePage) -> bool:
    """Whether a page is, in part, a feature of the controller's for all its namespaces."""
    return page.feature is not None and not page.feature.per_namespace


# Reset


def restore(lu: LogicalUnit) -> Generator[Any, Any, None]:
    """Return pages that are features to saved, else default values. Spec: SPC-4 5.10.

    A controller that cannot select values has none but the current ones. `lu` has told
    its own nexuses of the reset.
    """
    if not lu.facts.controller_bit("oncs", 4):
        return
    for page in PAGES:
        feature = page.feature
        if feature is None or not feature.present(lu.facts):
            continue
        was = yield from read_page(lu, page, PageControl.CURRENT)
        values = yield from read_page(lu, page, PageControl.SAVED)
        if values == was:
            continue
        yield from _set_feature(lu, _Change(page, was, values), feature, save=False)
        for other in lu.siblings():
            if other is not lu and _shared(page):
                other.establish_attention(MODE_PARAMETERS_CHANGED)


# Rows

_PAGE = (Field("pc", 2, 6, 2), Field("page_code", 2, 0, 6), Field("subpage_code", 3))
_DBD = Field("dbd", 1, 3, 1, "no block descriptor")
_SELECT_FLAGS = (Field("pf", 1, 4, 1, "pages in standard format"), Field("sp", 1, 0, 1, "save"))


def _sense_row(length: int, opcode: int, spec: str, *fields: Field) -> Command:
    return Command(
        f"MODE SENSE ({length})",
        opcode,
        length,
        spec,
        mode_sense,
        (*_PAGE, _DBD, *fields),
        data=Data.IN,
        transfer=Transfer.BYTES,
        length_field="allocation_length",
        access=Access.READ,
        needs_ready=False,
        while_sanitizing=True,
        kept=True,
        nvme=("Get Features",),
    )


def _select_row(length: int, opcode: int, spec: str, list_length: Field) -> Command:
    return Command(
        f"MODE SELECT ({length})",
        opcode,
        length,
        spec,
        mode_select,
        (*_SELECT_FLAGS, list_length),
        data=Data.OUT,
        transfer=Transfer.BYTES,
        length_field="parameter_list_length",
        access=Access.WRITE,
        needs_ready=False,
        nvme=("Set Features", "Get Features", "Flush"),
    )


COMMANDS = (
    _select_row(6, 0x15, "SPC-4 6.9", Field("parameter_list_length", 4)),
    _select_row(10, 0x55, "SPC-4 6.10", Field("parameter_list_length", 7, 0, 16)),
    _sense_row(6, 0x1A, "SPC-4 6.11", Field("allocation_length", 4)),
    _sense_row(
        10,
        0x5A,
        "SPC-4 6.12",
        Field("llbaa", 1, 4, 1, "long block descriptors are accepted"),
        Field("allocation_length", 7, 0, 16),
    ),
)
