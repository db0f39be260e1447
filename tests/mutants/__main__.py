"""`python -m tests.mutants`: plant faults, and name those that no fast test notices."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter

from tests.mutants.operators import Mutant, mutants
from tests.mutants.tree import ROOT, Tree, subjects


def _chosen(prefix: str, seed: int) -> list[Mutant]:
    """Return all mutants of the files under `prefix`, so that each file has its turn."""
    chance = random.Random(seed)
    ranked: list[tuple[float, Mutant]] = []
    for path in subjects():
        if str(path).startswith(prefix):
            found = list(mutants(str(path), (ROOT / path).read_text()))
            chance.shuffle(found)
            ranked += [
                ((index + chance.random()) / len(found), each) for index, each in enumerate(found)
            ]
    return [each for _, each in sorted(ranked, key=lambda pair: pair[0])]


def main() -> int:
    """Return 1 if the tests fail without a mutant."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="0: until all were tried")
    parser.add_argument("--files", default="", help="those whose path begins so")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    words = parser.parse_args()
    start = time.monotonic()
    chosen = _chosen(words.files, words.seed)
    print(f"seed {words.seed}, {len(chosen)} mutants", flush=True)
    tree = Tree()
    if not tree.whole(sorted({each.path for each in chosen[:1]})):
        print("the tests fail without a mutant")
        return 1
    counts: Counter[str] = Counter()
    for each in chosen:
        if words.minutes and time.monotonic() - start > 60 * words.minutes:
            break
        noticed = tree.check(each)
        counts[noticed or "nobody"] += 1
        if not noticed:
            print(f"SURVIVES {each}", flush=True)
    tried = counts.total() - counts["build"]
    noticed_of_100 = 100 * (tried - counts["nobody"]) // max(1, tried)
    print(f"{tried} tried, {noticed_of_100} % noticed: {dict(counts)}")
    return 0


sys.exit(main())
