"""Layouts: encoding and decoding are each other's inverse, and fields stand where they must."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from hypothesis import strategies as st

from scsi2nvme import commands, engine
from scsi2nvme.command import Command, Transfer
from scsi2nvme.commands import inquiry, log_pages, mode, vpd_pages
from scsi2nvme.commands.log_pages.page import PAGE_HEADER, PARAMETER_HEADER, LogPage
from scsi2nvme.commands.vpd_pages.page import HEADER as VPD_HEADER
from scsi2nvme.commands.vpd_pages.page import VpdPage
from scsi2nvme.fields import Structure
from scsi2nvme.fuzz import strategies
from scsi2nvme.fuzz.controller import content, play
from scsi2nvme.fuzz.finding import Finding
from scsi2nvme.fuzz.situations import able_unit, make_unit
from scsi2nvme.nvme import registers
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.status import Status
from scsi2nvme.target.iscsi import pdu
from scsi2nvme.unit import mode_pages
from scsi2nvme.unit.logical_unit import Nexus
from scsi2nvme.unit.mode_pages.page import ModePage, PageControl

# Structures are looked for there, and in all that is loaded.
_OTHERS = (pdu, registers)

# CDB length by group code, opcode bits 7:5. Spec: SPC-4 4.2.5.1.
_LENGTH = {0: 6, 1: 10, 2: 10, 3: 32, 4: 16, 5: 12}
# Where a typical CDB has its LBA and its length, as (byte, bits). Spec: SPC-4 4.2.2.
_TYPICAL_LBA = {6: (1, 21), 10: (2, 32), 12: (2, 32), 16: (2, 64), 32: (12, 64)}
_TYPICAL_LENGTH = {6: (4, 8), 10: (7, 16), 12: (6, 32), 16: (10, 32), 32: (28, 32)}
# Operation codes that have their length elsewhere.
_OTHER_LENGTH = {
    0x12: (3, 16),  # INQUIRY, SPC-4 6.6
    0x1C: (3, 16),  # RECEIVE DIAGNOSTIC RESULTS, SPC-4 6.28
    0x1D: (3, 16),  # SEND DIAGNOSTIC, SPC-4 6.42
    0x3B: (6, 24),  # WRITE BUFFER, SPC-4 6.49
    0x3C: (6, 24),  # READ BUFFER (10), SPC-4 6.18
    0x5F: (5, 32),  # PERSISTENT RESERVE OUT, SPC-4 6.16
    0x89: (13, 8),  # COMPARE AND WRITE, SBC-3 5.2
    0x9A: (12, 16),  # WRITE STREAM (16), SBC-4 5.57
    0x9C: (12, 16),  # WRITE ATOMIC (16), SBC-4 5.48
}


def cdb_comes_back(row: Command, data: st.DataObject) -> None:
    """Decoding what was encoded gives the same fields, and the same row."""
    values = {
        field.name: data.draw(strategies.field_values(field), label=field.name)
        for field in row.fields
    }
    cdb = row.build(**values)
    decoded = {name: field.read(cdb, "big") for name, field in row.structure.by_name.items()}
    for name, value in values.items():
        if decoded[name] != value:
            raise Finding(row, name, f"{value:#x} comes back as {decoded[name]:#x}")
    for name, value in row.structure.parse(cdb).items():
        if decoded[name] != value:
            raise Finding(row, name, f"{decoded[name]:#x} is parsed as {value:#x}")
    if row.structure.build(**decoded) != cdb:
        raise Finding(row, "", f"{cdb.hex()} does not come back")
    if commands.find(cdb) is not row:
        raise Finding(row, "opcode", f"{cdb.hex()} selects {commands.find(cdb)}")
    if row.reserved_bit(cdb) is not None:
        raise Finding(row, "", f"{cdb.hex()} sets a reserved bit: {row.reserved_bit(cdb)}")


def cdb_is_typical(row: Command, data: st.DataObject) -> None:
    """LBA and length stand where SPC has them for a CDB of this length."""
    data.draw(st.none())
    length = _LENGTH.get(row.opcode >> 5)
    if row.length != length:
        raise Finding(row, "length", f"{row.length} bytes, group {row.opcode >> 5} has {length}")
    usual_length = _OTHER_LENGTH.get(row.opcode, _TYPICAL_LENGTH[length])
    for name, place in (("lba", _TYPICAL_LBA[length]), (row.length_field, usual_length)):
        field = row.structure.by_name.get(name)
        if field is not None and (field.byte, field.width, field.bit) != (*place, 0):
            message = f"byte {field.byte}, {field.width} bits; typical are byte and bits {place}"
            raise Finding(row, name, message)
    if (row.transfer is Transfer.NONE) != (row.data.value == "none"):
        raise Finding(row, "transfer", f"{row.transfer.name}, but data go {row.data.value}")


# Structures


def structures() -> Iterator[Structure]:
    """Yield every structure that a module of the program declares, CDBs apart."""
    seen: set[int] = set()
    loaded = (sys.modules[name] for name in sorted(sys.modules) if name.startswith("scsi2nvme."))
    for module in (*_OTHERS, *loaded):
        for each in vars(module).values():
            found = each.layout if isinstance(each, ModePage) else each
            if isinstance(found, Structure) and id(found) not in seen:
                seen.add(id(found))
                yield found


def structure_comes_back(structure: Structure, data: st.DataObject) -> None:
    """Fields survive encoding, bytes survive decoding, and neighbours are left alone."""
    values: dict[str, int] = {}
    for field in structure.fields:
        values[field.name] = data.draw(st.sampled_from((0, 1, field.maximum)), label=field.name)
    raw = structure.build(**values)
    parsed = structure.parse(raw)
    for name, value in values.items():
        if parsed[name] != value:
            raise Finding(structure, name, f"{value:#x} comes back as {parsed[name]:#x}")
    noise = data.draw(st.binary(min_size=structure.size, max_size=structure.size))
    again = structure.build(**dict(structure.parse(noise)))
    wanted = bytes(byte & bits for byte, bits in zip(noise, structure.mask, strict=True))
    if again != wanted:
        raise Finding(structure, "", f"{noise.hex()} comes back as {again.hex()}")


# Pages


def _run(nexus: Nexus, name: str, data_out: bytes = b"", /, **fields: int) -> Result:
    """Run a command by its name; the controller answers ones."""
    row = next(each for each in commands.COMMANDS if each.name == name)
    return play(engine.run(engine.select(nexus, 0, row.build(**fields)), data_out), content(b"\1"))


def mode_pages_of_table() -> tuple[ModePage, ...]:
    """Return the mode pages."""
    return mode_pages.PAGES


def mode_page_comes_back(page: ModePage, data: st.DataObject) -> None:
    """What MODE SENSE returns, MODE SELECT takes; what may change does, and nothing else."""
    lu, nexus = able_unit(data, lambda lu: page.supported(lu.facts))
    header = mode.HEADER_10.size

    def sense(control: PageControl) -> bytes:
        result = _run(
            nexus,
            "MODE SENSE (10)",
            dbd=1,
            pc=control,
            page_code=page.code,
            subpage_code=page.subpage,
            allocation_length=0xFFFF,
        )
        whole = result.data_in
        if result.status is not Status.GOOD or len(whole) != header + page.layout.size:
            raise Finding(page, "", f"MODE SENSE returns {whole.hex()}, {result.sense}")
        if int.from_bytes(whole[:2], "big") != len(whole) - 2:
            raise Finding(page, "mode_data_length", f"{whole.hex()}")
        return whole[header:]

    before, mask = sense(PageControl.CURRENT), sense(PageControl.CHANGEABLE)
    size = page.header.size
    flips = data.draw(st.binary(min_size=page.layout.size, max_size=page.layout.size))
    if data.draw(st.booleans()):
        flips = bytes(a & b for a, b in zip(flips, mask, strict=True))
    flips = bytes(size) + flips[size:]
    wanted = bytes(a ^ b for a, b in zip(before, flips, strict=True))
    allowed = not any(a & ~b for a, b in zip(flips[size:], mask[size:], strict=True))
    allowed = allowed and not page.wrong(page.layout.parse(wanted), lu)
    parameters = bytes(header) + bytes([wanted[0] & 0x7F]) + wanted[1:]
    result = _run(
        nexus, "MODE SELECT (10)", parameters, pf=1, parameter_list_length=len(parameters)
    )
    if (result.status is Status.GOOD) != allowed:
        raise Finding(page, _set_fields(page, flips), f"{wanted.hex()} ends with {result}")
    lu.exceptions.reset()  # TEST may have made one
    lu.take_attention(nexus)
    after = sense(PageControl.CURRENT)
    # A field that is a feature of the controller says what this controller answers.
    feature = page.feature is not None and page.feature.present(lu.facts)
    expected = wanted if allowed else before
    if not feature and after[size:] != expected[size:]:
        wrong = bytes(a ^ b for a, b in zip(after, expected, strict=True))
        raise Finding(page, _set_fields(page, wrong), f"{after.hex()} after {wanted.hex()} was set")


def _set_fields(page: ModePage, values: bytes) -> str:
    return ", ".join(each.name for each in page.layout.fields if each.read(values, "big"))


def vpd_pages_of_table() -> tuple[VpdPage, ...]:
    """Return the vital product data pages."""
    return vpd_pages.PAGES


def vpd_page_is_whole(page: VpdPage, data: st.DataObject) -> None:
    """A page says its own code and its true length, and it is listed."""
    _, nexus = able_unit(data, page.supported)
    whole = _run(nexus, "INQUIRY", evpd=1, page_code=page.code, allocation_length=0xFFFF).data_in
    head = VPD_HEADER.parse(whole)
    if head.page_code != page.code or head.page_length != len(whole) - VPD_HEADER.size:
        raise Finding(page, "page_length", whole.hex())
    listed = _run(nexus, "INQUIRY", evpd=1, allocation_length=0xFFFF).data_in
    if page.code not in listed[VPD_HEADER.size :]:
        raise Finding(page, "page_code", "page 00h does not list it")


def log_pages_of_table() -> tuple[LogPage, ...]:
    """Return the log pages."""
    return log_pages.PAGES


def log_page_is_whole(page: LogPage, data: st.DataObject) -> None:
    """A page's parameters fill it exactly, in ascending order, whatever the controller's logs."""
    _, nexus = able_unit(data, page.supported)
    row = next(each for each in commands.COMMANDS if each.name == "LOG SENSE")
    cdb = row.build(pc=1, page_code=page.code, subpage_code=page.subpage, allocation_length=0xFFFF)
    seed = data.draw(st.binary(min_size=1, max_size=16))
    result = play(engine.run(engine.select(nexus, 0, cdb), b""), content(seed))
    whole, header = result.data_in, PAGE_HEADER
    if result.status is not Status.GOOD:
        raise Finding(page, "", f"{cdb.hex()} ends with {result}")
    if header.parse(whole).page_length != len(whole) - header.size:
        raise Finding(page, "page_length", whole.hex())
    if page.parameters is None:
        return
    at, last = header.size, -1
    while at < len(whole):
        each = PARAMETER_HEADER.parse(whole[at:])
        if each.parameter_code <= last:
            raise Finding(page, "parameter_code", whole.hex())
        last, at = each.parameter_code, at + PARAMETER_HEADER.size + each.parameter_length
    if at != len(whole):
        raise Finding(page, "parameter_length", whole.hex())


def standard_inquiry(structure: Structure, data: st.DataObject) -> None:
    """Standard INQUIRY data are as long as they say."""
    _, nexus = make_unit(data.draw(strategies.namespaces()))
    whole = _run(nexus, "INQUIRY", allocation_length=0xFFFF).data_in
    if inquiry.STANDARD_DATA.parse(whole).additional_length != len(whole) - 5:
        raise Finding(structure, "additional_length", whole.hex())
