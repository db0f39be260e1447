"""What the target itself counts for one logical unit, since it started.

Nothing is kept beyond that: a start is a power on, which initiators are told of.
"""

from __future__ import annotations

from collections import Counter

from scsi2nvme.nvme.command import Opcode
from scsi2nvme.nvme.status import StatusCode, StatusType

# Log page codes.
WRITE_ERRORS, READ_ERRORS, VERIFY_ERRORS, NON_MEDIUM_ERRORS = 0x02, 0x03, 0x05, 0x06
BYTES_PROCESSED, UNCORRECTED_ERRORS = 0x0005, 0x0006  # parameter codes. Spec: SPC-4 7.3.14
NON_MEDIUM_ERROR_COUNT = 0x0000  # parameter code. Spec: SPC-4 7.3.11

_PAGE_OF: dict[int, int] = {
    Opcode.WRITE: WRITE_ERRORS,
    Opcode.WRITE_ZEROES: WRITE_ERRORS,
    Opcode.READ: READ_ERRORS,
    Opcode.VERIFY: VERIFY_ERRORS,
    Opcode.COMPARE: VERIFY_ERRORS,
}
# What failed through no fault of the command, nor of the medium.
_NON_MEDIUM = frozenset(
    {
        StatusCode.DATA_TRANSFER_ERROR,
        StatusCode.ABORTED_POWER_LOSS,
        StatusCode.INTERNAL_ERROR,
    }
)


class Counters:
    """Counters by log page and parameter code, as LOG SENSE shows them."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[int, int]] = Counter()

    def record(self, opcode: int, status: int) -> None:
        """Count an I/O command that failed with `status`, unless that was a refusal.

        Spec: NVM Command Set 1.0 figure 22 (write fault to reference tag check).
        """
        if 0x280 <= status <= 0x284:
            page = _PAGE_OF.get(opcode)
            if page is not None:
                self._counts[page, UNCORRECTED_ERRORS] += 1
        elif status in _NON_MEDIUM or status >> 8 == StatusType.PATH:
            self._counts[NON_MEDIUM_ERRORS, NON_MEDIUM_ERROR_COUNT] += 1

    def value(self, page_code: int, code: int) -> int:
        """Return one counter."""
        return self._counts[page_code, code]

    def set(self, page_code: int, code: int, value: int) -> None:
        """Set one counter."""
        self._counts[page_code, code] = value
