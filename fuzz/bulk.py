"""`python -m scsi2nvme.fuzz.bulk`: both translations held against each other by the million."""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle, islice

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from scsi2nvme import commands
from scsi2nvme.command import Command, Hot
from scsi2nvme.fuzz import native, strategies
from scsi2nvme.fuzz.dice import Dice
from scsi2nvme.fuzz.finding import Finding
from scsi2nvme.fuzz.situations import make_unit
from scsi2nvme.native.unit_parameters import UnitParameters
from scsi2nvme.nvme.namespace import NamespaceFacts

CDBS_OF_BATCH, CDBS_OF_NAMESPACE = 20_000, 200
_COLD_IN = 16  # one CDB in so many is of a row that the hot path has not


def namespaces(number: int, count: int) -> list[NamespaceFacts]:
    """Return so many namespaces, with arbitrary capabilities; the same for the same number."""
    found: list[NamespaceFacts] = []

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @seeded(number)
    @given(strategies.zoned_or_not())
    def take(facts: NamespaceFacts) -> None:
        found.append(facts)

    take()
    return found


def _rows(dice: random.Random, name: str) -> Iterator[Command]:
    """Return rows of the hot path whose name begins so, in turn, and now and then another."""
    hot = [row for row in commands.COMMANDS if row.hot is not Hot.NO and row.name.startswith(name)]
    cold = [row for row in commands.COMMANDS if row.hot is Hot.NO]
    for row in cycle(hot):
        yield row
        if not dice.randrange(_COLD_IN):
            yield dice.choice(cold)


def batch(seed: int, number: int, cdbs: int = CDBS_OF_BATCH, name: str = "") -> Counter[str]:
    """Hold the translations of as many CDBs against each other; return what the hot path took.

    By the names of the rows that the CDBs were made from. Seed and number are all that it takes
    to repeat it. A Finding is raised where the translations do not agree.
    """
    taken: Counter[str] = Counter()
    left = cdbs
    for facts in cycle(namespaces(seed + number, max(cdbs // CDBS_OF_NAMESPACE, 1))):
        some = min(left, CDBS_OF_NAMESPACE)
        lu, nexus = make_unit(facts)
        dice, parameters = Dice(lu, f"{seed}/{number}/{left}"), UnitParameters.of(lu)
        rows = _rows(random.Random(f"{seed}/{number}/{left}/rows"), name)
        for row in islice(rows, some):
            if native.compare(nexus, lu, parameters, *dice.request(row)):
                taken[row.name] += 1
        left -= some
        if not left:
            return taken
    raise AssertionError("there are namespaces")


def _tried(seed: int, number: int) -> tuple[Counter[str], str]:
    try:
        return batch(seed, number), ""
    except Finding as finding:
        return Counter(), f"batch {number}: {finding}"
    except Exception as error:  # whatever a translation raises is a finding
        return Counter(), f"batch {number}: {type(error).__name__}: {error}"


def run(cdbs: int, seed: int, processes: int, say: Callable[[str], None]) -> list[str]:
    """Hold at least so many CDBs, batches side by side; return what was found."""
    batches = -(-cdbs // CDBS_OF_BATCH)
    begun, found, taken = time.monotonic(), [], Counter[str]()
    say(f"seed {seed}, {batches} batches of {CDBS_OF_BATCH} CDBs")
    with ProcessPoolExecutor(processes) as pool:
        tries = pool.map(_tried, [seed] * batches, range(batches))
        for done, (some, finding) in enumerate(tries, start=1):
            taken += some
            if finding:
                found.append(finding)
                say(f"FINDING {finding}")
            if not done % 25 or done == batches:
                seconds = time.monotonic() - begun
                say(f"{done * CDBS_OF_BATCH} CDBs in {seconds:.0f} s, {taken.total()} of them hot")
    for name, count in sorted(taken.items()):
        say(f"{count:10} {name}")
    return found


def main() -> int:
    """Run from the command line; 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m scsi2nvme.fuzz.bulk", description=__doc__)
    parser.add_argument("--cdbs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--batch", type=int, help="only this one, with the seed that found it")
    words = parser.parse_args()
    if words.batch is not None:
        print(batch(words.seed, words.batch).total(), "hot")
        return 0
    return bool(run(words.cdbs, words.seed, words.processes, lambda line: print(line, flush=True)))


if __name__ == "__main__":
    sys.exit(main())
