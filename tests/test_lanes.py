"""Which worker gets which test."""

from __future__ import annotations

from copy import copy
from types import SimpleNamespace

import pytest

from tests.lanes import TOGETHER, Lanes, scopes
from tests.times import SYSTEM

A, B, C = (f"{SYSTEM}test_{name}.py" for name in "abc")
MODULE = "tests/test_m.py"


@pytest.fixture
def config(request: pytest.FixtureRequest) -> pytest.Config:
    """Return the configuration of another run."""
    config = copy(request.config)
    config.option = copy(request.config.option)
    return config


class Worker:
    """A worker as the scheduler sees it; `given` is what it was asked to run."""

    def __init__(self) -> None:
        self.gateway = SimpleNamespace(id="worker")
        self.given: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, indices: list[int]) -> None:
        assert not self.shutting_down
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True


class Run:
    """Workers that have collected tests, and have been given the first of them."""

    def __init__(
        self, config: pytest.Config, tests: list[str], workers: int, machines: int
    ) -> None:
        self.tests = tests
        config.option.tx = workers * ["popen"]
        self.lanes = Lanes(config, machines)
        self.workers = [self.join() for _ in range(workers)]
        self.lanes.schedule()

    def join(self) -> Worker:
        """Add a worker."""
        worker = Worker()
        self.lanes.add_node(worker)
        self.lanes.add_node_collection(worker, self.tests)
        return worker

    def done(self, worker: Worker, count: int) -> None:
        """Tell that a worker's first tests have ended."""
        for index in worker.given[:count]:
            self.lanes.mark_test_complete(worker, index)

    def given(self, worker: Worker) -> list[str]:
        """Return the modules of what a worker was given."""
        return list(dict.fromkeys(self.tests[index].split("::")[0] for index in worker.given))


def some(module: str, count: int) -> list[str]:
    return [f"{module}::test_{number}" for number in range(count)]


def test_modules_of_machines_stay_whole_and_others_do_not() -> None:
    tests = [*some(A, TOGETHER + 1), *some(MODULE, TOGETHER + 1)]
    found = scopes(tests)
    assert [
        len([each for each in found.values() if each == scope])
        for scope in dict.fromkeys(found.values())
    ] == [TOGETHER + 1, TOGETHER, 1]


def test_some_workers_get_the_machines(config: pytest.Config) -> None:
    tests = [*some(A, 3), *some(B, 3), *some(C, 3), *some(MODULE, TOGETHER * 3)]
    run = Run(config, tests, workers=4, machines=2)
    assert [run.given(worker) for worker in run.workers] == [[A], [B], [MODULE], [MODULE]]
    assert [len(worker.given) for worker in run.workers] == [3, 3, TOGETHER, TOGETHER]


def test_who_has_no_machines_left_helps_the_others(config: pytest.Config) -> None:
    tests = [*some(A, 3), *some(MODULE, TOGETHER * 3)]
    run = Run(config, tests, workers=2, machines=1)
    first, second = run.workers
    run.done(first, 2)
    assert run.given(first) == [A, MODULE]
    assert run.given(second) == [MODULE]
    assert len(first.given) == 3 + TOGETHER


def test_a_module_is_given_away_when_a_worker_comes_to_its_last_test(
    config: pytest.Config,
) -> None:
    tests = [*some(A, 3), *some(B, 3), *some(C, 3), *some(MODULE, 1)]
    run = Run(config, tests, workers=3, machines=2)
    first, second, _ = run.workers
    run.done(second, 1)
    assert run.given(second) == [B]
    run.done(second, 2)
    assert run.given(second) == [B, C]
    run.done(first, 2)
    assert first.shutting_down
    assert run.given(first) == [A]


def test_who_has_nothing_to_do_ends(config: pytest.Config) -> None:
    run = Run(config, [*some(A, 3), *some(B, 3)], workers=3, machines=1)
    assert [worker.shutting_down for worker in run.workers] == [False, True, True]
    assert run.given(run.workers[0]) == [A]


@pytest.mark.parametrize("lost", [0, 1])
def test_a_worker_that_is_lost_is_replaced(config: pytest.Config, lost: int) -> None:
    run = Run(config, [*some(A, 3), *some(MODULE, 3)], workers=2, machines=1)
    before = run.workers[lost]
    assert run.lanes.remove_node(before) == run.tests[before.given[0]]
    other = run.join()
    run.lanes.schedule()
    assert other.given == before.given


def test_everything_ends(config: pytest.Config) -> None:
    tests = [*some(A, 2), *some(B, 1), *some(C, 5), *some(MODULE, TOGETHER * 5)]
    run = Run(config, tests, workers=4, machines=2)
    ended: set[int] = set()
    for _ in tests:  # each time at least one more
        for worker in run.workers:
            for index in set(worker.given) - ended:
                run.lanes.mark_test_complete(worker, index)
                ended.add(index)
    assert run.lanes.tests_finished
    assert ended == set(range(len(tests)))
