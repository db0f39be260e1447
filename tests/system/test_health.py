"""What sg3_utils and smartctl make of a disk that is worn and warm: one daemon, over tcm_loop.

One job runs every tool; the tests judge what it printed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.power import Power

NAA = "naa.5001405000000077"
UNIT_ATTENTION = 6  # how sg3_utils end
HEALTH = (
    "temperature:43",
    "sensor-2:55",
    "used:91",
    "spare:4",
    "power-on-hours:123",
    "media-errors:2",
)
OPTIONS = ",".join(f"health={one}" for one in HEALTH)
JOB = f"""
modprobe tcm_loop
mkdir /share/health
finish() {{
  leave_to_udev
  clear_targets
  end_daemon
  rm -f /tmp/worn*
}}
record() {{ # NAME COMMAND…
  local name=$1 status=0
  shift
  "$@" >"/share/health/$name" 2>&1 || status=$?
  echo "$status" >"/share/health/$name.status"
}}
start_daemon --controller emulated:/tmp/worn,size=64M,ses=on,enclosure=on,{OPTIONS}
trap finish EXIT
targetcli_all <<END
/backstores/user:nvme create name=worn size=64M cfgstring=0/1
/loopback create {NAA}
/loopback/{NAA}/luns create /backstores/user:nvme/worn
END
disk=$(loop_disk {NAA} 0)
keep_from_udev $disk
record logs sg_logs --All $disk
record pages sg_logs --list --list $disk
record modes sg_modes --all $disk
record smartctl smartctl --xall --json $disk
record requests sg_requests $disk
record diagnostics sg_senddiag --list $disk
record enclosure sg_ses $disk
record blink sg_ses --index=0,0 --set=ident $disk
record slots sg_ses --page=es $disk
record reset sg_logs --reset --select --page=0x5 $disk
record set sg_wr_mode --page=0x1c \\
  --contents=9c,0a,10,02,00,00,00,00,00,00,00,00 --mask=00,00,ff,ff,00,00,00,00,00,00,00,00 $disk
record attention sg_turs --verbose $disk
record attention-no-more sg_turs --verbose $disk
"""

pytestmark = pytest.mark.timeout(1200)


class Records:
    """What the tools printed, and their exit statuses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def text(self, name: str, *, status: int | None = 0) -> str:
        """Return what a tool printed, with that exit status, if it matters."""
        text = (self._folder / name).read_text()
        assert status in (None, int((self._folder / f"{name}.status").read_text())), text
        return text


@pytest.fixture(scope="module")
def records(power: Power) -> Iterator[Records]:
    """Run everything once."""
    machine = power.machine()
    with machine.quiet():
        machine.run(JOB, timeout_s=400)
        yield Records(machine.share / "health")


def number(text: str, name: str) -> int:
    found = re.search(rf"{re.escape(name)}\s*[=:]\s*(-?\d+)", text)
    assert found, f"{name!r} is not in:\n{text}"
    return int(found[1])


def test_sg_logs_decodes_every_page(records: Records) -> None:
    text = records.text("logs")
    assert number(text, "Current temperature") == 43
    assert re.search(r"(?i)temperature.*55", text)
    assert number(text, "Percentage used endurance indicator") == 91
    assert number(text, "Accumulated power on minutes") == 123 * 60
    assert re.search(r"(?i)environmental (?:reporting|limits)", text)
    assert "Cache memory statistics" in text
    assert "Application client" in text
    assert (number(text, "IE asc"), "5d" in text.lower()) == (0x5D, True) or "asc = 0x5d" in text


def test_smartctl_says_that_it_fails(records: Records) -> None:
    found = json.loads(records.text("smartctl", status=None))
    assert found["smart_status"]["passed"] is False
    assert found["scsi_environmental_reports"]["temperature_1"]["current"] == 43
    assert found["scsi_percentage_used_endurance_indicator"] == 91
    assert found["power_on_time"]["hours"] == 123
    assert found["scsi_error_counter_log"]["read"]["total_uncorrected_errors"] == 2


def test_what_is_wrong_is_told_on_request(records: Records) -> None:
    assert re.search(r"5d,\s*03|0x5d, 0x3|SPARE AREA|5d 03", records.text("requests"), re.I)


def test_diagnostic_pages_are_listed(records: Records) -> None:
    assert "Translate address" in records.text("diagnostics")


def test_its_slot_is_lit(records: Records) -> None:
    assert "Enclosure Status/Control (SES)" in records.text("enclosure")
    records.text("blink")
    slots = records.text("slots")
    assert "Ident=1" in slots.split("Temperature sensor")[0]
    assert "Temperature=43 C" in slots


def test_counters_are_reset(records: Records) -> None:
    records.text("reset")


def test_sg_modes_shows_how_it_is_told(records: Records) -> None:
    assert "Informational exceptions control" in records.text("modes")


def test_what_is_wrong_becomes_a_unit_attention(records: Records) -> None:
    """By MRIE 2: what is a recovered error Linux takes for success."""
    records.text("set")
    text = records.text("attention", status=UNIT_ATTENTION)
    assert re.search(r"unit attention", text, re.I), text
    records.text("attention-no-more")
