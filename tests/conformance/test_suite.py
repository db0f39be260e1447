"""How the outputs of iscsi-test-cu are read."""

from __future__ import annotations

import pytest

from tests.conformance.suite import Outcome, Verdict, judge, table

HEAD = """

     CUnit - A unit testing framework for C - Version 2.1-3
     http://cunit.sourceforge.net/


"""
PASSED = (
    HEAD
    + """Suite: ALL
  Test: Read10.Simple ...
    Test READ10 of 1-256 blocks at the start of the LUN
    Send READ10 (Expecting SUCCESS) LBA:0 blocks:1 rdprotect:0 dpo:0 fua:0 fua_nv:0 group:0
    [OK] READ10 returned SUCCESS.
passed

Run Summary:    Type  Total    Ran Passed Failed Inactive
              suites     27      0    n/a      0        0
               tests    309      1      1      0        0
             asserts      2      2      2      0      n/a

Elapsed time =    0.014 seconds
"""
)
FAILED = (
    HEAD
    + """Suite: ReadCapacity16
  Test: Support ...
    Test that READCAPACITY16 is supported
    [FAILED] READCAPACITY16 is not available but the device claims SBC-3 or later.
FAILED
    1. test_readcapacity16_support.c:48  - CU_FAIL("READCAPACITY16 is mandatory")

Run Summary:    Type  Total    Ran Passed Failed Inactive
              suites     27      0    n/a      0        0
               tests    309      1      0      1        0
             asserts      3      3      2      1      n/a
"""
)
SKIPPED = (
    HEAD
    + """Suite: ExtendedCopy
  Test: Simple ...
    [SKIPPED] EXTENDED COPY is not implemented.
passed

Run Summary:    Type  Total    Ran Passed Failed Inactive
              suites     27      0    n/a      0        0
               tests    309      1      1      0        0
             asserts      1      1      1      0      n/a
"""
)


@pytest.mark.parametrize(
    ("status", "output", "outcome", "detail"),
    [
        (0, PASSED, Outcome.PASSED, ""),
        (0, SKIPPED, Outcome.SKIPPED, "EXTENDED COPY is not implemented."),
        (
            0,
            "    [SKIPPED] REPORT_SUPPORTED_OPCODES is not implemented.\n" + PASSED,
            Outcome.PASSED,
            "",
        ),
        # A failure outweighs a skip, and status 0 means nothing.
        (0, FAILED + "[SKIPPED] later", Outcome.FAILED, "READCAPACITY16 is not available"),
        (
            1,
            "[SKIPPED] LUN is not write-protected.",
            Outcome.SKIPPED,
            "LUN is not write-protected.",
        ),
        (
            139,
            "Suite: X\nSegmentation fault",
            Outcome.FAILED,
            "exit status 139: Segmentation fault",
        ),
        (255, "", Outcome.FAILED, "exit status 255: no output"),
        (0, PASSED.replace("309      1 ", "309      0 "), Outcome.FAILED, "ran no such test"),
    ],
)
def test_one_output(status: int, output: str, outcome: Outcome, detail: str) -> None:
    verdict = judge("Read10.Simple", status, output)
    assert verdict.outcome is outcome
    assert detail in verdict.detail
    assert (verdict.test, verdict.family) == ("Read10.Simple", "Read10")


def test_a_failure_says_which_assertion() -> None:
    detail = judge("ReadCapacity16.Support", 1, FAILED).detail
    assert 'CU_FAIL("READCAPACITY16 is mandatory")' in detail


def verdicts(*outcomes: Outcome) -> list[Verdict]:
    return [Verdict(f"Read10.T{number}", outcome) for number, outcome in enumerate(outcomes)]


def test_the_table() -> None:
    ours = [*verdicts(Outcome.PASSED, Outcome.PASSED), Verdict("Unmap.Simple", Outcome.SKIPPED)]
    columns = {"scsi2nvme": ours, "tgt": verdicts(Outcome.FAILED, Outcome.HUNG)}
    lines = table(columns).splitlines()
    assert lines[0] == "| Family | scsi2nvme | tgt |"
    assert "| Read10 | 2 / 0 / 0 | 0 / 2 / 0 |" in lines
    assert any(line.startswith("| Unmap | 0 / 0 / 1 |") for line in lines)
    assert lines[-1] == "| **All** | 2 / 0 / 1 | 0 / 2 / 0 |"
