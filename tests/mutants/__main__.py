"""`python -m tests.mutants`: plant faults, and name those that no fast test notices."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import itertools
import random
import resource
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.mutants.judges import ROOT, Stage, beside_forks, forked_of, judges_of, subjects
from tests.mutants.operators import Mutant, mutants
from tests.mutants.results import Results, accepted, table
from tests.mutants.tree import Tree

WORKERS = 2
BATCH = 4  # mutants of a file that are tried in a row, which saves building what went before
PLACE = ROOT / "build" / "mutants"
MEMORY_BYTES = 8 << 30  # of a process, lest a fault eat the machine


def _chosen(prefixes: list[str], seed: int) -> list[Mutant]:
    """Return all mutants of the files under `prefixes`, mixed: any beginning is a sample."""
    listed = accepted()
    ranked: list[tuple[float, list[Mutant]]] = []
    for path in subjects():
        if path.startswith(tuple(prefixes)):
            chance = random.Random(f"{seed} {path}")
            found = list(mutants(path, (ROOT / path).read_text()))
            chance.shuffle(found)  # first of all: a sample loses what is accepted, and nothing else
            found = [each for each in found if not any(entry.covers(each) for entry in listed)]
            for at in range(0, len(found), BATCH):
                rank = (at + BATCH * chance.random()) / len(found)
                ranked.append((rank, found[at : at + BATCH]))
    return [each for _, batch in sorted(ranked, key=lambda pair: pair[0]) for each in batch]


@dataclass(frozen=True)
class _Way:
    """How mutants are judged: C by C tests alone, Python by some tests; and until when."""

    alone: bool
    by: tuple[str, ...]
    end: float

    def only(self, each: Mutant) -> bool:
        """Whether there are tests that are not asked."""
        return self.alone if each.path.endswith(".c") else bool(self.by)

    def judged(self, each: Mutant, tree: Tree, results: Results) -> str:
        near = results.near(each)
        stages = judges_of(each.path, near)
        by = () if each.path.endswith(".c") else self.by
        if by:
            near, stages = [name for name in near if name.startswith(by)], (Stage(tests=by),)
        if forked := by or forked_of(each.path):
            noticed = tree.ask_forks(each, near, forked)
            if noticed and noticed != "import":
                return noticed
            if not noticed:  # others are left
                stages = tuple(beside_forks(stage, forked) for stage in stages)
        if self.alone and each.path.endswith(".c"):
            stages = tuple(stage for stage in stages if stage.programs)
        stages = tuple(stage for stage in stages if stage.programs or stage.tests)
        return tree.check(each, stages)


class _Shared(Iterator[Mutant]):
    """An iterator for several threads."""

    def __init__(self, mutants: list[Mutant]) -> None:
        self.native = any(each.path.endswith(".c") for each in mutants)
        self._mutants = iter(mutants)
        self._lock = threading.Lock()

    def __next__(self) -> Mutant:
        with self._lock:
            return next(self._mutants)


@contextlib.contextmanager
def _tree(native: bool) -> Iterator[Tree]:
    """Have a copy of the checkout that no other run has."""
    for number in itertools.count():
        with (PLACE / f"{number}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            with contextlib.closing(Tree(PLACE / str(number), native)) as tree:
                yield tree
            return


def _work(chosen: _Shared, results: Results, way: _Way) -> str:
    """Judge one mutant after the other; return what is wrong without any."""
    with _tree(chosen.native) as tree:
        for each in chosen:
            if time.monotonic() > way.end:
                break
            try:
                noticed = way.judged(each, tree, results)
            except RuntimeError as error:
                return str(error)
            results.put(each, noticed, alone=way.only(each))
            if not noticed:
                print(f"SURVIVES {each}", flush=True)
    return ""


def main() -> int:
    """Return 1 if the tests fail without a mutant."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="0: until all were tried")
    parser.add_argument("--files", default="", help="those whose path begins so, with commas")
    parser.add_argument("--seed", type=int, default=0, help="of the order in which they are tried")
    parser.add_argument("--count", type=int, help="try the first so many alone")
    parser.add_argument("--alone", action="store_true", help="let C be judged by C tests alone")
    parser.add_argument("--by", default="", help="let Python be judged by these tests alone")
    parser.add_argument("--workers", type=int, default=WORKERS)
    words = parser.parse_args()
    end = time.monotonic() + 60 * words.minutes if words.minutes else float("inf")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, most))
    chosen = _chosen(words.files.split(","), words.seed)[: words.count]
    PLACE.mkdir(parents=True, exist_ok=True)
    results = Results(PLACE / "results.jsonl")
    way = _Way(words.alone, tuple(filter(None, words.by.split(","))), end)
    left = [each for each in chosen if results.get(each, alone=way.only(each)) is None]
    print(f"seed {words.seed}, {len(chosen)} mutants, {len(left)} of them untried", flush=True)
    shared = _Shared(left)
    with ThreadPoolExecutor(words.workers) as workers:
        works = [workers.submit(_work, shared, results, way) for _ in range(words.workers)]
    if wrong := [work.result() for work in works if work.result()]:
        print("\n".join(wrong))
        return 1
    known = [(each, results.get(each, alone=way.only(each))) for each in chosen]
    outcomes = [(each, noticed) for each, noticed in known if noticed is not None]
    for each, noticed in sorted(outcomes, key=lambda pair: (pair[0].path, pair[0].number)):
        if not noticed:
            print(f"SURVIVES {each}")
    print("\n".join(table(outcomes)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
