"""Short runs over the fuzzer's cases, for the tests of this folder."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from ctypes import (
    CDLL,
    POINTER,
    Array,
    Structure,
    byref,
    c_bool,
    c_char_p,
    c_int,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    create_string_buffer,
)
from pathlib import Path

from scsi2nvme.fuzz import runner
from scsi2nvme.fuzz.runner import Failure
from scsi2nvme.native.hot import NvmeOp, carried, room, told
from scsi2nvme.native.unit_parameters import UnitParameters

ROOT = Path(__file__).parent.parent.parent
CSRC = ROOT / "scsi2nvme" / "csrc"
DRIVERS = ROOT / "drivers"
SEED = 1
# Examples of one seed are like each other: what a run of one has not found by then, it may look for
# ten times as long as another.
_AT_ONCE = 100


def hunt(
    name: str = "", property_name: str = "", *, examples: int = 60, shrink: bool = False
) -> Iterator[Failure]:
    """Yield what short runs find about subjects and properties whose names begin so."""
    for number, (each, subject) in enumerate(runner.cases(name)):
        if not each.name.startswith(property_name):
            continue
        for begin in range(0, examples, _AT_ONCE):
            failure = runner.examine(
                each,
                subject,
                examples=min(_AT_ONCE, examples - begin),
                number=SEED + number + begin,
                shrink=shrink,
            )
            if failure is not None:
                yield failure
                break


class _Parameters(Structure):
    _fields_ = (
        ("nsid", c_uint32),
        ("block_shift", c_uint32),
        ("blocks", c_uint64),
        ("maximum_blocks", c_uint32),
        ("boundary_blocks", c_uint32),
        ("volatile_cache", c_uint8),
        ("compares", c_uint8),
        ("write_zeroes_deallocates", c_uint8),
        ("fused_blocks", c_uint32),
        ("verify_blocks", c_uint32),
        ("write_zeroes_blocks", c_uint32),
        ("write_same_blocks", c_uint32),
        ("unmap_ranges", c_uint32),
        ("unmap_range_blocks", c_uint32),
        ("unmap_blocks", c_uint64),
        ("hint_blocks", c_uint32),
        ("protection_read", c_uint32),
        ("protection_write", c_uint32),
        ("protection_verify", c_uint32),
        ("protection_tagged", c_uint8),
        ("tuple_bytes", c_uint8),
        ("atomic_blocks", c_uint32),
        ("atomic_alignment", c_uint32),
        ("fenced_by_disk", c_uint8),
        ("zone_blocks", c_uint64),
        ("zone_capacity", c_uint64),
        ("grouped_streams", c_uint32),
        ("hinted", c_uint8),
        ("read_hints", c_uint8 * 64),
        ("write_hints", c_uint8 * 64),
    )


class _Op(Structure):
    _fields_ = (
        ("opcode", c_uint8),
        ("slba", c_uint64),
        ("blocks", c_uint32),
        ("cdw12", c_uint32),
        ("nsid", c_uint32),
        ("phase", c_uint8),
        ("sqe", c_uint8 * 64),
        ("data_at", c_uint32),
        ("data_bytes", c_uint32),
        ("period", c_uint32),
        ("tells", c_bool),
        ("told", c_uint8 * 16),
    )


def _native(parameters: UnitParameters) -> _Parameters:
    theirs, ours = parameters.native, _Parameters()
    for name, kind in _Parameters._fields_:
        value = getattr(theirs, name)
        setattr(ours, name, kind(*value) if issubclass(kind, Array) else value)
    return ours


class NativePath:
    """The hot path, compiled apart from a table and a source that may be at fault."""

    def __init__(self, folder: Path, headers: dict[str, str], sources: dict[str, str]) -> None:
        for name, text in (headers | sources).items():
            (folder / name).write_text(text)
        library = folder / "hot.so"
        command = ["cc", "-shared", "-fPIC", "-O0", "-D_GNU_SOURCE", f"-I{folder}"]
        command += [f"-I{path}" for path in (CSRC, DRIVERS / "csrc", DRIVERS / "nvme" / "csrc")]
        subprocess.run(
            [*command, "-o", str(library), *(str(folder / name) for name in sources)], check=True
        )
        self._library = CDLL(str(library))
        self._library.s2n_hot_translate.argtypes = [
            POINTER(_Parameters),
            POINTER(c_uint8),
            c_uint16,
            c_char_p,
            c_uint32,
            POINTER(_Op),
            c_int,
        ]
        self._library.s2n_hot_data_bytes.restype = c_uint64

    def hot_translate(
        self, parameters: UnitParameters, cdb: bytes, data_out: bytes = b""
    ) -> list[NvmeOp] | None:
        """See native.hot.hot_translate."""
        native = _native(parameters)
        memory = create_string_buffer(data_out, room(len(data_out)))
        out = (_Op * 8192)()
        buffer = (c_uint8 * len(cdb))(*cdb)
        count = self._library.s2n_hot_translate(
            byref(native), buffer, len(cdb), memory if data_out else None, len(memory), out, 8192
        )
        if count < 0:
            return None
        return [
            NvmeOp(
                op.opcode,
                op.slba,
                op.blocks,
                op.cdw12,
                op.nsid,
                bytes(op.sqe),
                told(op) or (carried(memory.raw, op) if data_out else b""),
                op.phase,
            )
            for op in out[:count]
        ]

    def hot_miscompare(
        self,
        parameters: UnitParameters,
        cdb: bytes,
        data_out: bytes,
        medium: bytes,
        *,
        descriptor: bool,
    ) -> bytes | None:
        """See native.hot.hot_miscompare."""
        memory = create_string_buffer(data_out, room(len(data_out)))
        sense = create_string_buffer(252)
        length = self._library.s2n_hot_compare(
            *(byref(_native(parameters)), (c_uint8 * len(cdb))(*cdb), c_uint16(len(cdb))),
            *(memory, c_uint32(len(memory)), medium, c_bool(descriptor), sense),
        )
        return None if length < 0 else sense.raw[:length]

    def hot_data_bytes(self, cdb: bytes, block_bytes: int) -> tuple[int, int]:
        """See native.hot.hot_data_bytes."""
        direction = c_uint8()
        buffer = (c_uint8 * len(cdb))(*cdb)
        count = self._library.s2n_hot_data_bytes(
            buffer, c_uint16(len(cdb)), c_uint32(block_bytes), byref(direction)
        )
        return count, direction.value
