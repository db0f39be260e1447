"""LOG SENSE and LOG SELECT."""

from __future__ import annotations

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.commands.log_pages import PAGES
from scsi2nvme.commands.log_pages.page import (
    COUNTER,
    PAGE_HEADER,
    PARAMETER_HEADER,
    LogPage,
    Logs,
    get_log,
)
from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.scsi.result import GOOD, CheckCondition, Result, Translation
from scsi2nvme.scsi.sense import (
    INVALID_FIELD_IN_PARAMETER_LIST,
    LOG_PARAMETERS_CHANGED,
    FieldPointer,
    Sense,
)
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.reservations import Access

CUMULATIVE = 0b01  # PC. Spec: SPC-4 6.8.


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


def _list_of_pages(lu: LogicalUnit, subpages: bool) -> bytes:
    """Spec: SPC-4 7.3.18 (a byte a page) and 7.3.19 (page and subpage)."""
    pages = supported_pages(lu)
    if subpages:
        return b"".join(bytes([page.code, page.subpage]) for page in pages)
    return bytes(page.code for page in pages if not page.subpage)


def log_sense(task: Task) -> Translation:
    """Spec: SPC-4 6.8. PC selects among counters only; nothing is saved."""
    page, pointer = _page(task), task.cdb.parameter_pointer
    if task.cdb.sp:
        raise task.invalid_field("sp")
    if page.counters and task.cdb.pc != CUMULATIVE:
        raise task.invalid_field("pc")
    if page.parameters is None:
        if pointer:
            raise task.invalid_field("parameter_pointer")
        body = _list_of_pages(task.lu, bool(page.subpage))
    else:
        logs: Logs = {}
        if page.needs:
            completions = yield tuple(get_log(log) for log in page.needs)
            answers = (completion.data for completion in completions)
            logs = dict(zip(page.needs, answers, strict=True))
        parameters = page.parameters(task.lu, logs)
        if pointer > max((each.code for each in parameters), default=0):
            raise task.invalid_field("parameter_pointer")
        body = b"".join(each.data for each in parameters if each.code >= pointer)
    header = PAGE_HEADER.build(
        ds=1,
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


def _settings(lu: LogicalUnit, data: bytes) -> list[tuple[LogPage, int, int]]:
    """Check a parameter list; return (page, parameter code, value) of what it sets.

    Only the counters that the target keeps can be set.
    """
    settings: list[tuple[LogPage, int, int]] = []
    offset = 0
    while offset < len(data):
        header = _header(PAGE_HEADER, data, offset)
        page = _find(lu, header.page_code, header.subpage_code)
        if page is None or bool(header.spf) != bool(page.subpage):
            raise _invalid(offset)
        start = offset + PAGE_HEADER.size
        end = start + header.page_length
        if end > len(data):
            raise _invalid(offset + PAGE_HEADER.by_name["page_length"].byte)
        settings += _page_settings(page, page.own(lu), data[:end], start)
        offset = end
    return settings


def _page_settings(
    page: LogPage, own: tuple[int, ...], data: bytes, offset: int
) -> list[tuple[LogPage, int, int]]:
    """Check the parameters of one page: our own, whole and in ascending order."""
    settings: list[tuple[LogPage, int, int]] = []
    last = -1
    while offset < len(data):
        header = _header(PARAMETER_HEADER, data, offset)
        code = header.parameter_code
        if code not in own or code <= last:
            raise _invalid(offset)
        value = data[offset + PARAMETER_HEADER.size :][: header.parameter_length]
        if header.parameter_length != COUNTER.size or len(value) != COUNTER.size:
            raise _invalid(offset + PARAMETER_HEADER.by_name["parameter_length"].byte)
        settings.append((page, code, COUNTER.parse(value)["count"]))
        offset += PARAMETER_HEADER.size + COUNTER.size
        last = code
    return settings


def log_select(task: Task) -> Translation:
    """Set, or return to zero, what the target itself counts. Spec: SPC-4 6.7."""
    yield from ()
    lu, cdb = task.lu, task.cdb
    if cdb.sp:
        raise task.invalid_field("sp")
    every_page = not cdb.page_code and not cdb.subpage_code
    if task.data_out:
        if cdb.pcr:
            raise task.invalid_field("pcr")
        if not every_page:
            raise task.invalid_field("page_code")
        if cdb.pc != CUMULATIVE:
            raise task.invalid_field("pc")
        for page, code, value in _settings(lu, task.data_out):
            lu.counters.set(page.code, code, value)
    elif cdb.pcr:
        pages = supported_pages(lu) if every_page else [_page(task)]
        if not any(page.own(lu) for page in pages):
            raise task.invalid_field("page_code")
        for page in pages:
            for code in page.own(lu):
                lu.counters.set(page.code, code, 0)
    else:
        return GOOD
    lu.establish_attention(LOG_PARAMETERS_CHANGED, but=task.nexus)
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
        shared=True,
        nvme=("Get Log Page",),
    ),
)
