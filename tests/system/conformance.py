"""`iscsi-test-cu` in the machine, against the kernel's iSCSI target.

One backstore is ours, over a disk that we drive through VFIO; the other is LIO's own, over
the kernel's driver of a like disk. They are judged side by side.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.conformance import suite
from tests.conformance.configurations import IMPOSSIBLE, Configuration, Exemption, exempt
from tests.conformance.judgement import settled
from tests.conformance.suite import Verdict
from tests.system.handed_on import HANDED_ON, spared
from tests.system.machine import Machine
from tests.system.units import UNITS, A, B, give_back, serve

# Where LIO itself answers, whatever the backstore.
LIO_FAILS = (
    Exemption(
        "iSCSIResiduals.*",
        "LIO compares the initiator's length with the command's for its own backstores only; of a "
        "user backstore it learns how much was read, so that it tells underflows of reads alone",
    ),
    Exemption(
        "iSCSIdatasn.iSCSIDataSnInvalid",
        "LIO takes Data-Out with the DataSN FFFFFFFFh",
    ),
    Exemption(
        "ReceiveCopyResults.CopyStatus",
        "LIO tells nobody when an initiator goes: the result of its copy is kept for the next",
    ),
)
LIO_SKIPS = (Exemption("Reserve6.Target*Reset", "LIO lets nobody reset a target"),)
LIO_RACES = (
    Exemption(
        "Reserve6.Logout",
        "LIO, which keeps the reservation, answers a logout before it has ended the session: on a "
        "busy machine the next initiator meets the reservation still",
    ),
)
OURS = Configuration(
    "LIO + scsi2nvme", "", paths=2, fails=LIO_FAILS, skips=LIO_SKIPS, races=LIO_RACES
)
BLOCK = Configuration("LIO block", "", paths=2)

# What a test may take in an emulated machine; in it, too, some hang that none passes.
LIMIT_S = 900
IMPOSSIBLE_LIMIT_S = 75
RUN_S = 3000
_IQN = "iqn.2026-11.org.example"
_UNIT = UNITS[0]
# Each is the LUN 0 of a target, to which its own name is added.
_BACKSTORES = {OURS: f"user:nvme/{_UNIT.name}", BLOCK: "block/block"}
_TIMED_OUT, _KILLED = 124, 128 + 9


def _name(configuration: Configuration) -> str:
    return _BACKSTORES[configuration].rpartition("/")[2]


def _target(configuration: Configuration) -> str:
    target = f"/iscsi/{_IQN}:{_name(configuration)}"
    return f"""/iscsi create {_IQN}:{_name(configuration)}
{target}/tpg1/luns create /backstores/{_BACKSTORES[configuration]}
{target}/tpg1 set attribute generate_node_acls=1 demo_mode_write_protect=0 cache_dynamic_acls=1"""


# Some tests take it that nobody has written before them. The kernel keeps reservations that are
# to survive a loss of power where it is told to, if there is such a place.
_BEGIN = f"""
modprobe nvme
for disk in {A.address} {B.address}; do
    dd if=/dev/zero of=$(eventually 20 namespace $disk 1) bs=1M count=1 oflag=direct
done
{serve((A,))}
mkdir -p /etc/rtslib-fb-target/pr
targetcli_all <<END
{_UNIT.create()}
/backstores/block create name=block dev=$(namespace {B.address} 1)
/backstores/block/block set attribute emulate_tpu=1 emulate_tpws=1
{_target(OURS)}
{_target(BLOCK)}
END
{" ".join(suite.LIST)}
"""


def examine(machine: Machine, *, beside: bool = False) -> dict[Configuration, list[Verdict]]:
    """Run the suite against ours, but for what it is spared; leaves the machine as it was.

    `beside`: run all of it, and against LIO's own backstore too. In the end the daemon may have
    logged nothing.
    """
    try:
        families = suite.listed(machine.run(_BEGIN, 300).output)
        every = [test for family in families.values() for test in family]
        tests = every if beside else [test for test in every if not spared(test)]
        judged = (OURS, BLOCK) if beside else (OURS,)
        jobs = {each: machine.start(_script(tests, each)) for each in judged}
        for job in jobs.values():
            job.wait(RUN_S)
        found = {each: list(_verdicts(machine.share / _name(each), tests, each)) for each in jobs}
    finally:
        output = machine.run(give_back((A,)), 120).output if machine.alive else ""
    words = [line for line in output.splitlines() if "scsi2nvme: " in line]
    assert not words, words
    return found


def _limit_s(test: str, configuration: Configuration) -> int:
    return IMPOSSIBLE_LIMIT_S if exempt(IMPOSSIBLE, test, configuration) else LIMIT_S


def _script(tests: list[str], configuration: Configuration) -> str:
    """Return what leaves each test's output and status in a directory of the configuration."""
    name = _name(configuration)
    urls = [f"iscsi://127.0.0.1/{_IQN}:{name}/0"] * configuration.paths
    lines = [f"mkdir /share/{name}", f"cd /share/{name}"]
    for test in tests:
        limit = _limit_s(test, configuration)
        command = shlex.join(suite.command(test, *urls))
        lines.append(
            f"timeout --kill-after=5 {limit} {command} >{test} 2>&1 || echo $? >{test}.status"
        )
    return "\n".join(lines)


def _verdicts(directory: Path, tests: list[str], configuration: Configuration) -> Iterator[Verdict]:
    for test in tests:
        status_file = directory / f"{test}.status"
        status = int(status_file.read_text()) if status_file.exists() else 0
        if status in (_TIMED_OUT, _KILLED):
            verdict = suite.hung(test, _limit_s(test, configuration))
        else:
            verdict = suite.judge(test, status, (directory / test).read_text(errors="replace"))
        yield settled(verdict, configuration)


def section(found: dict[Configuration, list[Verdict]]) -> str:
    """Return the part of docs/conformance.md that tells of this."""
    columns = {configuration.name: verdicts for configuration, verdicts in found.items()}
    rows = []
    for row in (*LIO_FAILS, *LIO_SKIPS, *LIO_RACES):
        beside = [verdict for verdict in found[BLOCK] if row.covers(verdict.test, BLOCK)]
        rows.append(f"- `{row.tests}`: {row.why}. {BLOCK.name}: {suite.cell(beside)}.")
    return f"""## Behind the kernel's target

The same in a whole machine, against LIO's iSCSI target: with a namespace that scsi2nvme drives
through VFIO as its user backstore, and with LIO's own block backstore over the kernel's NVMe
driver; both with 512-byte blocks and two paths, and LIO block with `emulate_tpu` and
`emulate_tpws`. `make system-test` runs it against ours, but for what is spared below, and fails
when a test ends in another way.

{suite.table(columns)}
### What fails, or skips itself, because LIO itself answers

{chr(10).join(rows)}

### What `make system-test` spares the kernel's target

{not_run()}"""


def not_run() -> str:
    """Return what is spared, and why."""
    head = """LIO hands on what is meant for a user backstore as it came, and hands back status,
sense data and what was read: all but REPORT LUNS, PERSISTENT RESERVE, RESERVE and RELEASE, which it
answers. Commands differ for it in which way data go, how much, and how they end. Of the tests that
send hundreds of commands which are alike in this, one of each kind is run there, at least one of
every family; all run behind the portal, over the same engine.

"""
    names = ((", ".join(f"`{each}`" for each in row.tests), row) for row in HANDED_ON)
    return head + "".join(f"- {tests}: as `{row.like}`: {row.why}.\n" for tests, row in names)
