"""The table of NVMe status codes."""

from __future__ import annotations

import pytest

from scsi2nvme.nvme.status import BY_VALUE, MAXIMUM, StatusCode, StatusType, describe


@pytest.mark.parametrize("code", list(StatusCode))
def test_rows_are_whole(code: StatusCode) -> None:
    assert 0 <= code <= MAXIMUM
    assert code == code.type << 8 | code.code
    assert code.text
    assert code.spec
    assert BY_VALUE[int(code)] is code


def test_texts_are_unique() -> None:
    assert len({code.text for code in StatusCode}) == len(StatusCode)


def test_no_status_is_an_alias() -> None:
    assert len(StatusCode.__members__) == len(list(StatusCode))


def test_types() -> None:
    assert StatusCode.COMPARE_FAILURE.type is StatusType.MEDIA
    assert StatusCode.INVALID_FORMAT.type is StatusType.COMMAND_SPECIFIC
    assert StatusCode.ANA_TRANSITION.type is StatusType.PATH


def test_description() -> None:
    assert describe(0x285) == "Compare Failure (SCT 2h SC 85h)"
    assert describe(0x7C1) == "unknown status (SCT 7h SC C1h)"
