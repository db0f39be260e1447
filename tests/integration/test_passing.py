"""nvme-cli's verbs on every kind of controller, which this process opens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scsi2nvme.__main__ import main
from tests.integration.disks import KINDS, spec


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_is_asked_formatted_and_written(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = spec(kind, tmp_path, size_mib=8, block=4096)  # QEMU forgets a format

    def shown(*arguments: str) -> dict[str, object]:
        assert main([arguments[0], disk, *arguments[1:], "-o", "json"]) == 0
        told: dict[str, object] = json.loads(capsys.readouterr().out)
        return told

    data, back = tmp_path / "data", tmp_path / "back"
    data.write_bytes(bytes(range(256)) * 16)
    assert main(["format", disk, "-n", "1", "-b", "4096"]) == 0
    assert main(["write", disk, "-s", "5", "-d", str(data)]) == 0
    assert main(["read", disk, "-s", "5", "-d", str(back)]) == 0
    assert back.read_bytes() == data.read_bytes()
    capsys.readouterr()
    assert shown("list-ns") == {"nsid_list": [{"nsid": 1}]}
    assert shown("ns-descs")["ns-descs"]
    assert shown("get-feature", "-f", "1")["name"] == "Arbitration"
    assert int(str(shown("show-regs")["csts"])) & 3 == 1
    assert main(["effects-log", disk]) == 0
    assert "Identify" in capsys.readouterr().out
