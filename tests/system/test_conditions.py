"""What sg3_utils tell and ask of a disk's identity, clock, power and provisioning.

One daemon serves an emulated disk that can do everything, by the kernel's loopback.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.system.power import Power

NAA = "naa.5001405000000001"
OPTIONS = (
    "size=256M,serial=S1,powerstates=5,thinp=on,lba-status=on,tcg=on,security=on,refresh_s=600"
)
# Mode page 1Ah: idle_a after 100 ms.
TIMER = ",".join(["1a", "26", "0", "2", "0", "0", "0", "1", *["0"] * 32])
LOWEST = ",".join(["5a", "1", "0", "c", "0", "0", "3", *["0"] * 9])
ASKED = {
    "set-identity": "echo -n desk | sg_ident --set --itype=2 $disk",
    "identity": "sg_ident --itype=2 --ascii $disk",
    "clear-identity": "sg_ident --clear --itype=2 $disk",
    "set-clock": "sg_timestamp --milliseconds=1754000000000 $disk",
    "clock": "sg_timestamp --origin $disk",
    "power-page": "sg_vpd --page=pc $disk",
    "provisioning-page": "sg_vpd --page=lbpv $disk",
    "set-timer": f"sg_wr_mode --page=1a --contents={TIMER} $disk",
    "consumption-page": "sg_vpd --page=0x8d $disk",
    "set-consumption": f"sg_wr_mode --page=1a,1 --contents={LOWEST} $disk",
    "consumption-mode": "sg_modes --page=0x1a,1 --hex $disk",
    "power-mode": "sg_modes --page=0x1a $disk",
    "thresholds-mode": "sg_modes --page=0x1c,2 $disk",
    "rested": "eventually 60 rests",
    "rests-why": "sg_requests $disk",
    "woken": "dd if=$disk of=/dev/null bs=4096 count=1 iflag=direct",
    "transitions": "sg_logs --page=0x1a $disk",
    "resources": "sg_logs --page=0x0c $disk",
    "standby": "sg_start --pc=3 --mod=1 $disk",
    "stands-by": "sg_requests $disk",
    "active": "sg_start --pc=1 $disk",
    "write": "dd if=/dev/urandom of=$disk bs=64K count=1 seek=16 oflag=direct conv=notrunc",
    "lba-status": "sg_get_lba_status --lba=0 --maxlen=4096 $disk",
    "pending-defects": "sg_logs --page=0x15,1 $disk",
    "elements": "sg_get_elem_status --maxlen=255 $disk",
    "feature-sets": "sg_vpd --page=sfs $disk",
    "opcodes": "sg_opcodes $disk",
    "security-protocols": "sg_raw --request=64 $disk a2 0 0 0 0 0 0 0 0 40 0 0",
    "refresh": "sg_bg_ctl --ctl=1 $disk",
    "refreshing": "sg_logs --page=0x15,2 $disk",
    "end-refresh": "sg_bg_ctl --ctl=2 $disk",
    "at-rest": "sg_logs --page=0x15,2 $disk",
    # What Linux does with a disk that nobody uses (runtime power management).
    "let-sleep": "let_sleep",
    "sleeps": "eventually 30 is suspended",
    "sleeping": "scsi2nvme scsi-passthru 0 0 0 0 0 0 0 --state-dir /tmp/state || [ $? = 1 ]",
    "woken-by-reading": "dd if=$disk of=/dev/null bs=4096 count=1 skip=3 iflag=direct",
    "stay-awake": "echo on >$device/power/control && is active",
    "awake": "scsi2nvme scsi-passthru 0 0 0 0 0 0 0 --state-dir /tmp/state",
    # A pattern for FORMAT UNIT, over the kernel's ring: its parameter list goes to the daemon.
    "format": "sg_format --format --quick --ip-def --early $disk",
    "formatted": "eventually 60 sg_turs $disk",
    "blocks": "dd if=$disk bs=64K count=1 skip=16 iflag=direct | cmp --bytes=65536 - /dev/zero",
}


def script() -> Iterator[str]:
    yield f"""
    modprobe tcm_loop
    mkdir /share/conditions
    record() {{
      local status=0
      (eval "$2") >"/share/conditions/$1" 2>&1 || status=$?
      echo "$status" >>"/share/conditions/$1"
    }}
    rests() {{ sg_requests --hex $disk | grep --quiet "5e 01"; }}
    is() {{ grep --quiet $1 $device/power/runtime_status; }}
    let_sleep() {{
      echo 1 | tee /sys/class/scsi_disk/$(basename $device)/manage_*start_stop
      echo 100 >$device/power/autosuspend_delay_ms
      echo auto >$device/power/control
    }}
    finish() {{
      clear_targets
      end_daemon
      rm -rf /tmp/state /tmp/disk*
    }}
    trap finish EXIT
    start_daemon --controller emulated:/tmp/disk,{OPTIONS} --state-dir /tmp/state
    targetcli_all <<END
    /backstores/user:nvme create name=disk0 size=256M cfgstring=0/1
    /loopback create {NAA}
    /loopback/{NAA}/luns create /backstores/user:nvme/disk0
END
    disk=$(loop_disk {NAA} 0)
    keep_from_udev $disk
    device=$(readlink --canonicalize /sys/block/$(basename $disk)/device)
    """
    yield from (f"record {name} '{command}'" for name, command in ASKED.items())


@pytest.fixture(scope="module")
def told(power: Power) -> dict[str, str]:
    """Run everything once; return what was printed, with the exit status in the end."""
    machine = power.machine()
    with machine.quiet():
        machine.run("\n".join(script()), timeout_s=300)
    directory = machine.share / "conditions"
    return {name: (directory / name).read_text(errors="replace") for name in ASKED}


@pytest.mark.parametrize("name", ASKED)
def test_every_tool_ends_well(told: dict[str, str], name: str) -> None:
    assert told[name].splitlines()[-1] == "0", told[name]


def test_what_an_active_disk_takes(told: dict[str, str]) -> None:
    assert len(re.findall(r"[Mm]aximum power consumption", told["consumption-page"])) == 3
    assert re.search(r"5a 01 00 0c\s+00 00 03 00", told["consumption-mode"])


def test_identity_and_clock(told: dict[str, str]) -> None:
    assert "desk" in told["identity"]
    assert "SET TIMESTAMP" in told["clock"]
    assert re.search(r"^17540000\d{5}$", told["clock"], re.M)


def test_power(told: dict[str, str]) -> None:
    assert re.search(r"Standby_z=1 Idle_c=1 Idle_b=1 Idle_a=1", told["power-page"], re.I)
    assert "timer" in told["rests-why"].lower()
    assert "idle" in told["rests-why"].lower()
    assert "idle_a" in told["transitions"].lower()
    assert "standby_y" in told["stands-by"].lower()


def test_a_disk_that_nobody_uses_sleeps(told: dict[str, str]) -> None:
    """Linux stops it (START STOP UNIT), and starts it for what it wants next."""
    assert "CHECK CONDITION" in told["sleeping"]
    assert "INITIALIZING COMMAND REQUIRED" in told["sleeping"].upper()
    assert "GOOD" in told["awake"]


def test_what_else_it_tells(told: dict[str, str]) -> None:
    assert re.search(r"health: *within", told["elements"], re.I), told["elements"]
    assert "SBC Base 2010" in told["feature-sets"]
    assert "Basic provisioning 2016" in told["feature-sets"]


def test_which_blocks_are_allocated(told: dict[str, str]) -> None:
    assert re.search(r"0x0*800\s+blocks: +128 +mapped", told["lba-status"])
    assert "deallocated" in told["lba-status"]
    assert "Pending defect" in told["pending-defects"]


def test_security_protocols(told: dict[str, str]) -> None:
    """The list of them: of protocols themselves, and TCG's."""
    assert re.search(r"^ 00 +(00 ){7}03 +00 01 02", told["security-protocols"], re.M)


def test_a_refresh(told: dict[str, str]) -> None:
    assert "BO_STATUS=2" in told["refreshing"]
    assert "BO_STATUS=0" in told["at-rest"]


def test_provisioning(told: dict[str, str]) -> None:
    assert "vailable" in told["resources"]
    assert re.search(r"[Tt]hreshold exponent: *11", told["provisioning-page"])


@pytest.mark.parametrize(
    "name", ["Report identifying", "Set identifying", "Report timestamp", "Set timestamp"]
)
def test_what_it_knows_is_listed(told: dict[str, str], name: str) -> None:
    assert name.lower() in told["opcodes"].lower()
