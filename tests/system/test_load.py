"""Every LUN of two controllers at once under a load that is verified, over both ways in."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.system.controllers import CONTROLLERS
from tests.system.machine import Machine
from tests.system.power import Power
from tests.system.units import IQN, NAA, UNITS, given_back, publish, serve

JOBS = 2  # of each LUN
# By way in: what makes the LUNs disks, and what finds the disk of one.
WAYS = {
    "loopback": ("true", f"loop_disk {NAA}"),
    "iscsi": ("iscsi_login", f"iscsi_disk {IQN}"),
}


@pytest.fixture(scope="module", params=["auto", "off"])
def zero_copy(power: Power, request: pytest.FixtureRequest) -> Iterator[str]:
    """Publish everything both ways, with and without zero copy; returns which."""
    machine, setting = power.machine(), str(request.param)
    begin = serve(CONTROLLERS, "--zero-copy", setting)
    with machine.quiet(), given_back(machine, CONTROLLERS):
        published = publish(UNITS, loopback=True, portals=["127.0.0.1"])
        machine.run(begin + published, timeout_s=200)
        yield setting


@pytest.mark.parametrize("way", WAYS)
def test_all_disks_at_once(machine: Machine, zero_copy: str, way: str) -> None:
    login, find = WAYS[way]
    disks = "".join(
        f"options+=(--name={unit.name} --new_group --filename=$({find} {lun}))\n"
        for lun, unit in enumerate(UNITS)
    )
    machine.run(
        f"""
        {login}
        options=()
        {disks}
        fio --size=24M --numjobs={JOBS} --offset_increment=24M --direct=1 --ioengine=libaio \\
          --iodepth=32 --rw=randrw --bsrange=4k-64k --blockalign=4k --verify=crc32c \\
          --verify_fatal=1 --randrepeat=0 --group_reporting \\
          --output-format=json --output=/share/{way}.json "${{options[@]}}"
        scsi2nvme list --state-dir /run/daemon --json >/share/list.json
        """,
        timeout_s=300,
    )
    said = (machine.share / f"{way}.json").read_text()
    jobs = json.loads(said[said.index("{") :])["jobs"]  # what comes before are warnings
    assert {job["jobname"] for job in jobs} == {unit.name for unit in UNITS}
    for job in jobs:
        assert job["error"] == 0
        assert job["write"]["total_ios"] > 0
        assert job["read"]["total_ios"] > job["write"]["total_ios"]  # all that is written is read
    rings = json.loads((machine.share / "list.json").read_text())["Rings"]
    assert len(rings) == len(UNITS)
    for ring in rings:
        assert ring["ZeroCopy"] == (zero_copy == "auto")
        assert (ring["InPlace"] > ring["Copied"]) == (zero_copy == "auto")
