"""The tutorial's ways from a disk to a LUN, typed as its page has them.

Its disk is the machine's own, its portal's address one that this machine is given. What is put in
the place of its words: the initiator's name, and `systemctl`, as nothing runs units here.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.system.machine import Machine
from tests.system.units import A, empty

PAGE = Path(__file__).parents[2] / "docs/tutorial.md"
HOST = "iqn.1993-08.org.debian:01:host"
ADDRESS = "192.0.2.1"
FAST = "iqn.2026-11.org.example:fast"
FILES = "/etc/scsi2nvme.toml /etc/rtslib-fb-target/saveconfig.json"
BEGIN = f"""
modprobe -a nvme vfio-pci
{empty(A)}
cp /etc/iscsi/initiatorname.iscsi /run/initiator
echo InitiatorName={HOST} >/etc/iscsi/initiatorname.iscsi
iscsi_stop
named() {{
  find /etc /usr/local -type f '(' -name '*scsi2nvme*' -o -name '*.TCMUService1.service' ')'
}}
named >/run/before
finish() {{
  clear_targets
  end_daemon
  scsi2nvme unbind {A.address}
  mv /run/initiator /etc/iscsi/initiatorname.iscsi
  iscsi_stop
  ip address delete {ADDRESS}/32 dev lo 2>/dev/null || true
  rm -rf {FILES} /var/lib/scsi2nvme
  local left
  left=$(named | grep --invert-match --line-regexp --fixed-strings --file=/run/before) || true
  xargs --no-run-if-empty rm <<<"$left"
}}
trap finish EXIT
begin() {{ # the program that serves, with its arguments
  : >/run/daemon.log
  leave_fork scsi2nvme "$@" >>/run/daemon.log 2>&1
  echo "$left" >/run/daemon.pid
  eventually 100 daemon_ready
}}
systemctl() {{
  local line
  [ "$*" = "enable --now scsi2nvme" ]
  line=$(sed -n 's/^ExecStart=//p' /etc/systemd/system/scsi2nvme.service)
  modprobe target_core_user
  begin ${{line#* }}
}}
"""


def blocks(section: str) -> list[str]:
    """Return what is to be typed in a section of the page."""
    text = PAGE.read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_through_targetcli_and_through_our_shell(machine: Machine) -> None:
    prepared, targetcli, shell = blocks("Through targetcli")
    output = machine.run(
        f"""
        {BEGIN}
        {prepared}
        echo "--- made"
        {targetcli}
        echo "---"
        test -s /etc/rtslib-fb-target/saveconfig.json
        iscsi_login
        disk=$(iscsi_disk {FAST} 0)
        echo "SIZE $(</sys/block/${{disk##*/}}/size)"
        fio_verify $disk 8M
        clear_targets
        echo "--- shell"
        {shell}
        echo "---"
        iscsi_login
        test $(ls /dev/disk/by-path/*-iscsi-*-lun-* | wc -l) = {len(A.namespaces)}
        """,
        timeout_s=240,
    ).output
    first = next(line for line in targetcli.splitlines() if "cfgstring" in line)
    config = re.search("cfgstring=[^ ]*", first)
    assert config is not None
    assert config[0] in output.split("--- made")[0]  # the list has it
    assert f"SIZE {A.namespaces[0].size_bytes // 512}" in output
    told = output.split("--- shell\n")[1].split("\n---")[0]
    assert told.count("backstore]") == told.count("a backstore]") == len(A.namespaces)


def test_through_the_portal(machine: Machine) -> None:
    *_, config, commands = blocks("Through the portal")
    (secret,) = re.findall('^secret = "(.*)"$', config, re.MULTILINE)
    *before, serve = commands.splitlines()
    program, *arguments = serve.split()
    assert program == "scsi2nvme"
    output = machine.run(
        f"""
        {BEGIN}
        ip address add {ADDRESS}/32 dev lo
        cat >/etc/scsi2nvme.toml <<END
{config}
END
        {before[0]}
        ! {before[1].partition("#")[0]}
        {before[2]}
        {before[1]}
        begin {" ".join(arguments)}
        iscsi_start
        iscsiadm --mode discovery --type sendtargets --portal {ADDRESS}
        node() {{ iscsiadm --mode node --targetname {FAST} --portal {ADDRESS} "$@"; }}
        set_node() {{ node --op update --name "node.session.auth.$1" --value "$2"; }}
        set_node authmethod CHAP
        set_node username host
        set_node password '{secret}'
        node --login
        udevadm settle
        fio_verify $(iscsi_disk {FAST} 0 {ADDRESS}) 8M
        """,
        timeout_s=240,
    ).output
    assert "Traceback" not in output
