"""LOG SENSE and LOG SELECT."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from scsi2nvme.command import Command, Data, Task, Transfer, always
from scsi2nvme.commands.log_pages import PAGES
from scsi2nvme.commands.log_pages.page import (
    PAGE_HEADER,
    PARAMETER_HEADER,
    LogPage,
    Logs,
    answer,
    get,
)
from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.scsi.result import GOOD, Asked, CheckCondition, Result, Translation
from scsi2nvme.scsi.sense import (
    INVALID_FIELD_IN_PARAMETER_LIST,
    LOG_PARAMETERS_CHANGED,
    FieldPointer,
    Sense,
)
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.reservations import Access

CUMULATIVE, DEFAULT_CUMULATIVE = 0b01, 0b11  # PC. Spec: SPC-4 6.8.
_DEFAULTS = 0b10  # of PC: values that are by default
_ALL_SUBPAGES = 0xFF


def supported_pages(lu: LogicalUnit) -> list[LogPage]:
    """Return the pages that a logical unit has, in ascending order."""
    return [page for page in PAGES if page.supported(lu)]


def _find(lu: LogicalUnit, code: int, subpage: int) -> LogPage | None:
    pages = supported_pages(lu)
    return next((page for page in pages if (page.code, page.subpage) == (code, subpage)), None)


def _page(task: Task) -> LogPage:
    """Return the page that the CDB names."""
    code, subpage = task.cdb.page_code, task.cdb.subpage_code
    page = _find(task.lu, code, subpage)
    if page is None:
        known = any(other.code == code for other in supported_pages(task.lu))
        raise task.invalid_field("subpage_code" if known else "page_code")
    return page


def _list_of_pages(lu: LogicalUnit, wanted: LogPage) -> bytes:
    """Spec: SPC-4 7.3.18 (a byte a page), 7.3.19, 7.3.20 (page and subpage)."""
    pages = supported_pages(lu)
    if not wanted.subpage:
        return bytes(page.code for page in pages if not page.subpage)
    listed = (page for page in pages if wanted.code in (0, page.code))
    return b"".join(bytes([page.code, page.subpage]) for page in listed)


def _ask(lu: LogicalUnit, page: LogPage) -> Generator[Asked, Any, Logs]:
    """Return what a page is made of."""
    if not page.needs:
        return {}
    completions = yield tuple(get(need, lu.nsid) for need in page.needs)
    pairs = zip(page.needs, completions, strict=True)
    return {need: answer(need, completion) for need, completion in pairs}


def log_sense(task: Task) -> Translation:
    """Spec: SPC-4 6.8. PC selects among counters only, which have no thresholds.

    With SP all is saved that can be, whatever the page.
    """
    page, pointer = _page(task), task.cdb.parameter_pointer
    defaults = task.cdb.pc == DEFAULT_CUMULATIVE and page.counters and page.resets
    if page.counters and task.cdb.pc != CUMULATIVE and not defaults:
        raise task.invalid_field("pc")
    if task.cdb.sp:
        task.lu.log.save()
    if page.parameters is None:
        if pointer:
            raise task.invalid_field("parameter_pointer")
        body = _list_of_pages(task.lu, page)
    else:
        logs = yield from _ask(task.lu, page)
        parameters = page.parameters(task.lu, logs)
        if defaults:
            known = page.resettable(task.lu)
            parameters = tuple(
                replace(each, value=bytes(known[each.code])) if each.code in known else each
                for each in parameters
            )
        if pointer > max((each.code for each in parameters), default=0):
            raise task.invalid_field("parameter_pointer")
        body = b"".join(each.data for each in parameters if each.code >= pointer)
    header = PAGE_HEADER.build(
        ds=page.parameters is not None and not page.saveable(task.lu),
        spf=bool(page.subpage),
        page_code=page.code,
        subpage_code=page.subpage,
        page_length=len(body),
    )
    return Result(data_in=header + body)


# LOG SELECT


def _invalid(byte: int) -> CheckCondition:
    """Return the exception that refuses a byte of the parameter list. Spec: SPC-4 6.7."""
    pointer = FieldPointer(byte, in_cdb=False)
    return CheckCondition(Sense(INVALID_FIELD_IN_PARAMETER_LIST, pointer=pointer))


def _header(structure: Structure, data: bytes, offset: int) -> Values:
    """Return the header of a page or parameter, which must not be cut."""
    if offset + structure.size > len(data):
        raise _invalid(offset)
    return structure.parse(data[offset : offset + structure.size])


class _Setting(NamedTuple):
    """What a parameter is to be, and where that stands in the parameter list."""

    value: bytes
    byte: int = 0


_Settings = dict[LogPage, dict[int, _Setting]]


def _settings(lu: LogicalUnit, data: bytes) -> _Settings:
    """Check a parameter list; return the values that it sets, by page and parameter code."""
    settings: _Settings = {}
    offset, before = 0, (-1, -1)
    while offset < len(data):
        header = _header(PAGE_HEADER, data, offset)
        page = _find(lu, header.page_code, header.subpage_code)
        place = header.page_code, header.subpage_code
        if page is None or bool(header.spf) != bool(page.subpage) or place <= before:
            raise _invalid(offset)
        start = offset + PAGE_HEADER.size
        end = start + header.page_length
        if end > len(data):
            raise _invalid(offset + PAGE_HEADER.by_name["page_length"].byte)
        values = _page_settings(page.settable(lu), data[:end], start)
        settings[page] = values
        offset, before = end, place
    return settings


def _page_settings(settable: Mapping[int, int], data: bytes, offset: int) -> dict[int, _Setting]:
    """Check the parameters of one page: such as can be set, whole and in ascending order.

    None is compared with a threshold, and all are saved now and then.
    """
    settings: dict[int, _Setting] = {}
    while offset < len(data):
        header = _header(PARAMETER_HEADER, data, offset)
        code = header.parameter_code
        if code not in settable or code <= max(settings, default=-1):
            raise _invalid(offset)
        if header.tsd or header.etc:
            raise _invalid(offset + PARAMETER_HEADER.by_name["etc"].byte)
        value = data[offset + PARAMETER_HEADER.size :][: header.parameter_length]
        if header.parameter_length != settable[code] or len(value) != settable[code]:
            raise _invalid(offset + PARAMETER_HEADER.by_name["parameter_length"].byte)
        settings[code] = _Setting(value, offset + PARAMETER_HEADER.size)
        offset += PARAMETER_HEADER.size + len(value)
    return settings


def _named(task: Task) -> list[LogPage]:
    """Return the pages that a CDB without parameter list is about. Spec: SPC-4 table 185."""
    code, subpage, pages = task.cdb.page_code, task.cdb.subpage_code, supported_pages(task.lu)
    if not code and not subpage:
        return pages
    if subpage == _ALL_SUBPAGES:
        return [page for page in pages if page.code == code] or [_page(task)]
    return [_page(task)]


def _selected(task: Task) -> _Settings:
    """Return what LOG SELECT sets: by its list, or to zero. Spec: SPC-4 6.7.2, 7.3.2.1."""
    lu, cdb = task.lu, task.cdb
    if task.data_out:
        if cdb.pcr:
            raise task.invalid_field("pcr")
        if cdb.page_code or cdb.subpage_code:
            raise task.invalid_field("page_code")
        if cdb.pc != CUMULATIVE:
            raise task.invalid_field("pc")
        return _settings(lu, task.data_out)
    pages = _named(task)
    if _saves(cdb) and not any(page.saveable(lu) for page in pages):
        raise task.invalid_field("sp")
    if not cdb.pcr and cdb.pc != DEFAULT_CUMULATIVE:
        return {}
    return {
        page: {code: _Setting(bytes(size)) for code, size in page.resettable(lu).items()}
        for page in pages
        if cdb.pcr or page.counters  # PC is not of lists
    }


def _saves(cdb: Values) -> bool:
    """Whether SP asks for anything: defaults are not saved. Spec: SPC-4 table 186."""
    return bool(cdb.sp) and not cdb.pc & _DEFAULTS


def _check_unchanged(
    lu: LogicalUnit, page: LogPage, logs: Logs, settings: Mapping[int, _Setting]
) -> None:
    """Refuse other values than there are now of what can be reset only. Spec: SPC-4 table 357."""
    assert page.parameters is not None
    now = {each.code: each.value for each in page.parameters(lu, logs)}
    for code, (value, byte) in settings.items():
        if value != now.get(code):
            raise _invalid(byte)


def log_select(task: Task) -> Translation:
    """Set parameters, or return them to zero, and save them. Spec: SPC-4 6.7.

    All that they lie between is asked for before any is set.
    """
    lu = task.lu
    settings, logs = _selected(task), {}
    for page, values in settings.items():
        if values:
            asked = yield from _ask(lu, page)
            if task.data_out and page.reset_only:
                _check_unchanged(lu, page, asked, values)
            else:
                logs[page] = asked
    try:
        for page, asked in logs.items():
            page.set(lu, {code: each.value for code, each in settings[page].items()}, asked)
    finally:
        if logs:
            lu.establish_attention(LOG_PARAMETERS_CHANGED, but=task.nexus)
    if _saves(task.cdb):  # last: where it fails, the rest is done, and told
        lu.log.save()
    return GOOD


_PAGE = (Field("pc", 2, 6, 2), Field("page_code", 2, 0, 6), Field("subpage_code", 3))
COMMANDS = (
    Command(
        "LOG SELECT",
        0x4C,
        10,
        "SPC-4 6.7",
        log_select,
        (
            Field("pcr", 1, 1, 1, "parameter code reset"),
            Field("sp", 1, 0, 1, "save parameters"),
            *_PAGE,
            Field("parameter_list_length", 7, 0, 16),
        ),
        data=Data.OUT,
        transfer=Transfer.BYTES,
        length_field="parameter_list_length",
        access=Access.WRITE,
        needs_ready=False,
        nvme=("Get Log Page",),
    ),
    Command(
        "LOG SENSE",
        0x4D,
        10,
        "SPC-4 6.8",
        log_sense,
        (
            Field("sp", 1, 0, 1, "save parameters"),
            *_PAGE,
            Field("parameter_pointer", 5, 0, 16),
            Field("allocation_length", 7, 0, 16),
        ),
        data=Data.IN,
        transfer=Transfer.BYTES,
        length_field="allocation_length",
        legacy_reserve_allows=True,
        needs_ready=False,
        while_sanitizing=True,
        while_reservations_lost=always,
        shared=True,
        nvme=("Get Log Page", "Get Features", "Identify"),
    ),
)
