"""`commands` lists rows of the command table."""

from __future__ import annotations

import pytest

from scsi2nvme.__main__ import main


@pytest.mark.parametrize(("arguments", "has_inquiry"), [([], True), (["--hot"], False)])
def test_commands_are_listed(
    arguments: list[str], has_inquiry: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["commands", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "28h  READ (10)" in lines
    assert ("12h  INQUIRY" in lines) is has_inquiry
