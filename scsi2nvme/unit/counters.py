"""What the target itself counts for one logical unit, since it started."""

from __future__ import annotations

from collections import Counter

from scsi2nvme.nvme.command import Opcode

WRITE_ERRORS, VERIFY_ERRORS = 0x02, 0x05  # log page codes
BYTES_PROCESSED, UNCORRECTED_ERRORS = 0x0005, 0x0006  # parameter codes. Spec: SPC-4 7.3.14


class Counters:
    """Counters by log page and parameter code, as LOG SENSE shows them."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[int, int]] = Counter()

    def record(self, opcode: int, status: int) -> None:
        """Count an I/O command that failed with `status`, if the medium was at fault.

        Spec: NVM Command Set 1.0 figure 22 (write fault to reference tag check).
        """
        if not 0x280 <= status <= 0x284:
            return
        if opcode in (Opcode.WRITE, Opcode.WRITE_ZEROES):
            self._counts[WRITE_ERRORS, UNCORRECTED_ERRORS] += 1
        elif opcode in (Opcode.VERIFY, Opcode.COMPARE):
            self._counts[VERIFY_ERRORS, UNCORRECTED_ERRORS] += 1

    def value(self, page_code: int, code: int) -> int:
        """Return one counter."""
        return self._counts[page_code, code]

    def set(self, page_code: int, code: int, value: int) -> None:
        """Set one counter."""
        self._counts[page_code, code] = value
