"""What is measured of COMPARE AND WRITE of one block."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import contention, peers


@pytest.mark.slow
def test_a_stream_and_hosts_are_measured(tmp_path: Path) -> None:
    with peers.scsi2nvme(tmp_path, contention.SIZE_BYTES >> 3) as target:
        assert contention.beside(target, "compare-and-write", 3)["iops"] > 0
        figures = contention.contend(target, 2, 1)
    assert figures["iops"] >= 2 * figures["slowest_iops"] > 0
    assert figures["reads_iops"] > 0


def test_the_tables() -> None:
    stream = {"iops": 150000.0, "p99_us": 300.0}
    hosts = {"iops": 20000.0, "slowest_iops": 4500.0, "p99_us": 900.0}
    reads = {"reads_iops": 100000.0, "reads_p99_us": 610.0}
    report = dict.fromkeys(contention.STREAMS, stream) | {"4 hosts": hosts | reads}
    lines = contention.markdown(report).splitlines()
    assert "| COMPARE AND WRITE | 150000 | 1.00 | 300 |" in lines
    assert "| 4 hosts | 20000 | 4500 | 900 | 100000 | 610 |" in lines
