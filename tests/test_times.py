"""The table of how long tests take."""

from __future__ import annotations

from pathlib import Path

from tests import times

REPORT = """<testsuites><testsuite>
<testcase classname="tests.system.test_load" name="test_x" time="61.5"/>
<testcase classname="tests.system.test_load" name="test_y" time="2.5"/>
<testcase classname="tests.test_times.TestClass" name="test_z" time="1.5"/>
</testsuite></testsuites>
"""


def test_machines_and_others_end_within_the_goal() -> None:
    machines = {
        name: took for name, took in times.budget().items() if name.startswith(times.SYSTEM)
    }
    assert sum(machines.values()) <= times.GOAL_S * times.MACHINES
    # On two cores there are as many others.
    assert sum(times.budget().values()) - sum(machines.values()) <= times.GOAL_S * 2


def test_rows_are_modules() -> None:
    names = [name for name in times.budget() if name != times.OTHERS]
    assert [name for name in names if not (times.ROOT / name).is_file()] == []


def test_each_module_that_runs_in_a_machine_has_a_row() -> None:
    paths = (times.ROOT / "tests/system").glob("test_*.py")
    assert {str(path.relative_to(times.ROOT)) for path in paths} <= times.budget().keys()


def test_a_page_of_reports(tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    report.write_text(REPORT)
    seconds = times.measured(report)
    assert seconds == {"tests/system/test_load.py": 64.0, "tests/test_times.py": 1.5}
    assert times.budget(times.page(seconds)) == {"tests/system/test_load.py": 64, times.OTHERS: 2}


def test_what_took_too_long_is_told() -> None:
    expected = times.budget()["tests/system/test_load.py"]
    seconds = {"tests/system/test_load.py": 2.0 * expected, "tests/test_times.py": 1.0}
    assert times.overdue(seconds) == []
    seconds = {name: took + 11 for name, took in seconds.items()}
    assert times.overdue(seconds) == [
        f"tests/system/test_load.py: {2 * expected + 11} s, {expected} expected",
        f"tests/test_times.py: 12 s, below {times.LEAST_S} expected",
    ]
