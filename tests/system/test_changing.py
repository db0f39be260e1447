"""Everything changes while Linux's own initiator has fio verify a disk of our portal."""

from __future__ import annotations

from tests.system.machine import Machine

BASE = "iqn.2026-11.org.example"
FAST, OLD, SHARED, NEW = (f"{BASE}:{name}" for name in ("fast", "old", "shared", "new"))
THIRD, FOURTH = (f"emulated:memory,size=8M,serial={name},namespaces=2" for name in ("S3", "S4"))
MORE = f"""
[[controllers]]
spec = "{FOURTH}"
target = false

[[targets]]
iqn = "{NEW}"
luns = [{{ lun = 0, controller = "{FOURTH}" }}, {{ lun = 1, controller = "{FOURTH}", nsid = 2 }}]
"""
BEGIN = f"""
name=$(sed -n s/^InitiatorName=//p /etc/iscsi/initiatorname.iscsi)
finish() {{
  clear_targets
  end_daemon
  rm -rf /run/daemon /run/changing.toml /run/changed
}}
trap finish EXIT
cat >/run/changing.toml <<END
[[controllers]]
spec = "emulated:memory,size=64M,serial=S1"
iqn = "{FAST}"
[[controllers]]
spec = "emulated:memory,size=8M,serial=S2"
iqn = "{OLD}"
[[initiators]]
name = "$name"
END
chmod 600 /run/changing.toml
: >/run/daemon.log
leave_fork scsi2nvme serve --config /run/changing.toml --state-dir /run/daemon \\
  >>/run/daemon.log 2>&1
echo "$left" >/run/daemon.pid
eventually 60 daemon_ready
our() {{ local verb=$1; shift; scsi2nvme "$verb" "$@" --state-dir /run/daemon; }}
has() {{ our config | grep --quiet --fixed-strings "$1"; }}
"""


def test_the_other_s_fio_never_errs(machine: Machine) -> None:
    """Disks come, are shared out, and go, a secret is set, a session ended: by verbs, by SIGHUP."""
    output = machine.run(
        f"""
        {BEGIN}
        iscsi_login
        disk=$(iscsi_disk {FAST} 0)
        until [ -e /run/changed ]; do
          fio_verify $disk 16M --rate_iops=150 --verify_state_save=0 --number_ios=300
        done >/run/fio.log &
        fio=$!
        our add {THIRD} --no-target
        our add-target {SHARED}
        our map {SHARED} 0 {THIRD}
        our map {SHARED} 1 {THIRD} 2
        our allow {BASE}:bob {SHARED} --lun 0 --lun 1
        our end-session $name --target {OLD}
        our remove {OLD}
        our set-secret chap host <<<"a long enough secret"
        our saveconfig
        cat >>/run/changing.toml <<END
{MORE}
END
        kill -HUP $(</run/daemon.pid)
        eventually 60 has {NEW}
        : >/run/changed
        wait $fio
        echo "ERRORS $(grep --count 'err= 0' /run/fio.log) $(grep --count 'err=' /run/fio.log)"
        our list
        """,
        timeout_s=240,
    ).output
    well, ended = output.split("ERRORS ")[1].split()[:2]
    assert well == ended != "0"
    assert "Traceback" not in output
