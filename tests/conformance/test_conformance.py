"""Every test of iscsi-test-cu in every configuration: nothing hangs, fails or skips unexpectedly.

One process per test; a configuration is served once, and its tests run one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fnmatch import fnmatch

import pytest

from tests.conformance import suite
from tests.conformance.configurations import (
    CONFIGURATIONS,
    IMPOSSIBLE,
    REFUSED,
    SKIPS,
    Configuration,
    Exemption,
)
from tests.conformance.judgement import PROPERTY, Examination, encode, expected, surprise
from tests.conformance.suite import Outcome, Verdict
from tests.system.conformance import BLOCK, LIO_FAILS, LIO_RACES, LIO_SKIPS, OURS, section
from tests.system.handed_on import HANDED_ON, HandedOn, spared

FAMILIES = suite.tests()


@pytest.fixture(scope="module")
def examinations() -> Iterator[dict[str, Examination]]:
    """The one that is under way in this process, by its configuration's name."""
    current: dict[str, Examination] = {}
    yield current
    for examination in current.values():
        examination.end()


@pytest.fixture
def examination(
    request: pytest.FixtureRequest, examinations: dict[str, Examination]
) -> Examination:
    """The examination of the configuration that is the parameter; ends the one before."""
    configuration: Configuration = request.param
    if configuration.name not in examinations:
        for before in examinations.values():
            before.end()
        examinations.clear()
        examinations[configuration.name] = Examination(configuration, configuration.served)
    return examinations[configuration.name]


CASES = [
    pytest.param(
        configuration,
        family,
        marks=pytest.mark.slow,
        id=f"{configuration.name}-{family}",
    )
    for configuration in CONFIGURATIONS.values()
    for family in FAMILIES
    if configuration.includes(family)
]


@pytest.mark.parametrize(("examination", "family"), CASES, indirect=["examination"])
def test_family(
    examination: Examination, family: str, record_property: Callable[[str, object], None]
) -> None:
    configuration = examination.configuration
    verdicts = examination.run(family, FAMILIES[family])
    record_property(PROPERTY, encode(configuration, verdicts))
    surprises = [text for verdict in verdicts if (text := surprise(verdict, configuration))]
    assert not surprises, "\n".join(surprises)


@pytest.mark.parametrize("row", [*SKIPS, *IMPOSSIBLE, *REFUSED], ids=lambda row: row.tests)
def test_an_exemption_is_of_use(row: Exemption) -> None:
    covered = [
        (test, configuration)
        for configuration in CONFIGURATIONS.values()
        for family, tests in FAMILIES.items()
        for test in tests
        if configuration.includes(family) and row.covers(test, configuration)
    ]
    assert covered


@pytest.mark.parametrize("row", [*LIO_FAILS, *LIO_SKIPS, *LIO_RACES], ids=lambda row: row.tests)
def test_an_exemption_for_the_kernels_target_is_of_use(row: Exemption) -> None:
    covered = [test for tests in FAMILIES.values() for test in tests if row.covers(test, OURS)]
    assert covered
    for test in covered:
        assert not any(known.covers(test, OURS) for known in (*SKIPS, *IMPOSSIBLE, *REFUSED))


def test_the_kernels_target_is_shown_with_its_reasons() -> None:
    failed, passed = (Verdict("iSCSIResiduals.X", end) for end in (Outcome.FAILED, Outcome.PASSED))
    text = section({OURS: [failed], BLOCK: [failed, passed]})
    assert "| iSCSIResiduals | 0 / 1 / 0 | 1 / 1 / 0 |" in text
    assert f"- `iSCSIResiduals.*`: {LIO_FAILS[0].why}. LIO block: 1 / 1 / 0.\n" in text


@pytest.mark.parametrize("row", HANDED_ON, ids=lambda row: row.like)
def test_what_the_kernels_target_is_spared_runs_behind_the_portal(row: HandedOn) -> None:
    every = [test for tests in FAMILIES.values() for test in tests]
    left_out = [test for test in every if row.covers(test)]
    assert left_out
    assert all(any(fnmatch(test, pattern) for test in every) for pattern in row.tests)
    assert row.like in every
    assert not spared(row.like)
    for test in left_out:
        assert any(
            expected(test, each) is expected(test, OURS)
            for each in CONFIGURATIONS.values()
            if each.includes(test.split(".")[0])
        ), test


def test_each_test_is_run_behind_the_kernels_target_or_spared_for_one_reason() -> None:
    for tests in FAMILIES.values():
        assert not all(spared(test) for test in tests)
        for test in tests:
            assert sum(row.covers(test) for row in HANDED_ON) <= 1, test


def test_what_only_some_configurations_skip_runs_in_another() -> None:
    for family, tests in FAMILIES.items():
        for test in tests:
            rows = [row for row in SKIPS if row.covers(test, CONFIGURATIONS["QEMU, 512"])]
            runs = [
                configuration.name
                for configuration in CONFIGURATIONS.values()
                if configuration.includes(family)
                and not any(row.covers(test, configuration) for row in SKIPS)
            ]
            everywhere = (all(map(row.where, CONFIGURATIONS.values())) for row in rows)
            assert runs or any(everywhere), test


def output(ran: int, failed: int, *lines: str) -> str:
    """Return what the suite prints."""
    summary = f"  tests  1  {ran}  {ran - failed}  {failed}  0\n"
    return "\n".join([*lines, "Run Summary: Type Total Ran Passed Failed Inactive", summary])


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (output(1, 0), Outcome.PASSED),
        (output(1, 1, "  [FAILED] WRITE10"), Outcome.FAILED),
        (output(1, 1, "[SKIPPED] no", "[FAILED] after that"), Outcome.FAILED),
        (output(1, 0, "    [SKIPPED] LUN is not removable."), Outcome.SKIPPED),
        (output(0, 0), Outcome.FAILED),
        ("[SKIPPED] no such thing", Outcome.SKIPPED),
        ("Failed to connect", Outcome.FAILED),
        ("", Outcome.FAILED),
    ],
)
def test_how_output_is_read(text: str, outcome: Outcome) -> None:
    assert suite.judge("Family.Test", 0, text).outcome is outcome


def test_surprises() -> None:
    plain = CONFIGURATIONS["QEMU, 512"]
    assert not surprise(Verdict("Read10.Simple", Outcome.PASSED), plain)
    assert not surprise(Verdict("Sanitize.Reset", Outcome.SKIPPED), plain)
    assert not surprise(Verdict("iSCSITMF.LUNResetSimpleAsync", Outcome.FAILED), plain)
    for outcome in (Outcome.FAILED, Outcome.HUNG, Outcome.SKIPPED):
        assert surprise(Verdict("Read10.Simple", outcome), plain)
    assert surprise(Verdict("Sanitize.Reset", Outcome.PASSED), plain)
    assert surprise(Verdict("iSCSITMF.LUNResetSimpleAsync", Outcome.PASSED), plain)
    every = (Exemption("Read10.*", "for the test"),)
    failing, skipping = replace(plain, fails=every), replace(plain, skips=every)
    for configuration, outcome in ((failing, Outcome.FAILED), (skipping, Outcome.SKIPPED)):
        assert not surprise(Verdict("Read10.Simple", outcome), configuration)
        assert surprise(Verdict("Read10.Simple", Outcome.PASSED), configuration)
    racing = replace(plain, races=every)
    for outcome in (Outcome.PASSED, Outcome.FAILED):
        assert not surprise(Verdict("Read10.Simple", outcome), racing)
    for outcome in (Outcome.HUNG, Outcome.SKIPPED):
        assert surprise(Verdict("Read10.Simple", outcome), racing)
