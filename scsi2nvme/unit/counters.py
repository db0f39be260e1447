"""What the target itself counts for one logical unit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from scsi2nvme.nvme.command import Opcode
from scsi2nvme.nvme.status import StatusCode, StatusType

# Log page codes.
WRITE_ERRORS, READ_ERRORS, VERIFY_ERRORS, NON_MEDIUM_ERRORS = 0x02, 0x03, 0x05, 0x06
POWER_TRANSITIONS = 0x1A
BYTES_PROCESSED, UNCORRECTED_ERRORS = 0x0005, 0x0006  # parameter codes. Spec: SPC-4 7.3.14
OF_CONTROLLER = 0x8000  # beside a parameter code: what lies between it and the controller's count
MAXIMUM = (1 << 64) - 1
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
    """Counters by log page and parameter code, as LOG SENSE shows them.

    One may have a `source` that counts by itself: then what it was set to is kept as what lies
    between the two.
    """

    def __init__(self, saved: Mapping[str, int] = MappingProxyType({})) -> None:
        self._counts: Counter[str] = Counter(dict(saved))

    def record(self, opcode: int, status: int) -> None:
        """Count an I/O command that failed with `status`, unless that was a refusal.

        Spec: NVM Command Set 1.0 figure 22 (write fault to reference tag check).
        """
        if 0x280 <= status <= 0x284:
            page = _PAGE_OF.get(opcode)
            if page is not None:
                self.count(page, UNCORRECTED_ERRORS)
        elif status in _NON_MEDIUM or status >> 8 == StatusType.PATH:
            self.count(NON_MEDIUM_ERRORS, NON_MEDIUM_ERROR_COUNT)

    def count(self, page_code: int, code: int) -> None:
        """Count one more; at its maximum a counter stays. Spec: SPC-4 7.3.2 (bounded counters)."""
        key = _key(page_code, code)
        self._counts[key] = min(self._counts[key] + 1, MAXIMUM)

    def value(self, page_code: int, code: int, source: int = 0) -> int:
        """Return one counter."""
        return max(0, source + self._counts[_key(page_code, code)])

    def set(self, page_code: int, code: int, value: int, source: int = 0) -> None:
        """Set one counter."""
        self._counts[_key(page_code, code)] = value - source

    def saved(self) -> dict[str, int]:
        """Return what a later start goes on from."""
        return {key: value for key, value in self._counts.items() if value}


def _key(page_code: int, code: int) -> str:
    return f"{page_code:02x}/{code:04x}"
