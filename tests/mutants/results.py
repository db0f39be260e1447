"""What is known of mutants, kept between runs, and which survivors are no faults."""

from __future__ import annotations

import hashlib
import json
import threading
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.judges import ROOT
from tests.mutants.operators import Mutant, mutants

ALONE = " alone"
NEAR = 5  # judges of other lines' faults are asked before all others
ACCEPTED = Path(__file__).with_name("accepted.toml")


@dataclass(frozen=True)
class Accepted:
    """A survivor that changes nothing anybody can see, wherever in the file its line stands."""

    path: str
    before: str
    after: str
    reason: str

    def covers(self, mutant: Mutant) -> bool:
        planted = (mutant.path, mutant.before.strip(), mutant.after.strip())
        return planted == (self.path, self.before, self.after)


def accepted() -> list[Accepted]:
    """Return the list that stands beside this module."""
    return [Accepted(**entry) for entry in tomllib.loads(ACCEPTED.read_text())["accepted"]]


def stale(entries: Iterable[Accepted]) -> list[Accepted]:
    """Return the entries whose fault cannot be planted any more."""
    return [
        entry
        for entry in entries
        if not (ROOT / entry.path).exists()
        or not any(map(entry.covers, mutants(entry.path, (ROOT / entry.path).read_text())))
    ]


class Results:
    """Who noticed which mutant, in a file of lines.

    A result holds as long as the mutant's file is what it was; that nobody noticed, as long as
    the tests are.
    """

    def __init__(self, place: Path, root: Path = ROOT) -> None:
        self._place = place
        self._root = root
        self._lock = threading.Lock()
        self._tests = _digest(
            path for suffix in ("c", "h", "py") for path in (root / "tests").rglob(f"*.{suffix}")
        )
        self._files: dict[str, str] = {}
        self._known: dict[str, str] = {}
        self._judges: dict[str, list[tuple[int, str]]] = {}
        if place.exists():
            for line in place.read_text().splitlines():
                entry = json.loads(line)
                self._known[entry["mutant"]] = entry["noticed"]
                path, number, _ = entry["text"].split(":", 2)
                self._note(path, int(number), entry["noticed"])

    def get(self, mutant: Mutant, alone: bool = False) -> str | None:
        """Return who noticed a mutant, or None if that is not known; `alone`: of some tests."""
        keys = [self._key(mutant), self._key(mutant, self._tests)]
        if alone:
            keys.append(self._key(mutant, self._tests + ALONE))
        return next((self._known[key] for key in keys if key in self._known), None)

    def near(self, mutant: Mutant) -> list[str]:
        """Return who noticed other mutants of the file, those of the nearest lines first."""
        with self._lock:
            known = sorted(
                (abs(number - mutant.number), -order, judge)
                for order, (number, judge) in enumerate(self._judges.get(mutant.path, ()))
                if (ROOT / f"{judge}.c").exists() or (ROOT / judge.split("::")[0]).is_file()
            )
        return list(dict.fromkeys(judge for _, _, judge in known))[:NEAR]

    def _note(self, path: str, number: int, noticed: str) -> None:
        if noticed.startswith("tests/"):
            self._judges.setdefault(path, []).append((number, noticed))

    def put(self, mutant: Mutant, noticed: str, alone: bool = False) -> None:
        survives = self._tests + (ALONE if alone else "")
        key = self._key(mutant, "" if noticed else survives)
        with self._lock, self._place.open("a") as file:
            self._known[key] = noticed
            self._note(mutant.path, mutant.number, noticed)
            file.write(json.dumps({"mutant": key, "noticed": noticed, "text": str(mutant)}) + "\n")

    def _key(self, mutant: Mutant, tests: str = "") -> str:
        if mutant.path not in self._files:
            self._files[mutant.path] = _digest([self._root / mutant.path])
        words = (mutant.path, self._files[mutant.path], str(mutant.number), mutant.after, tests)
        return hashlib.sha256("\0".join(words).encode()).hexdigest()[:24]


def _digest(paths: Iterable[Path]) -> str:
    texts = [path.read_bytes() for path in sorted(paths)]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def table(outcomes: Iterable[tuple[Mutant, str]]) -> list[str]:
    """Return, by file and for all, how many were tried and which share was noticed."""
    tried: Counter[str] = Counter()
    noticed: Counter[str] = Counter()
    for mutant, by in outcomes:
        if by not in ("build", "same"):
            for name in (mutant.path, "all"):
                tried[name] += 1
                noticed[name] += by != ""
    return [
        f"{name:<48} {tried[name]:5} tried {100 * noticed[name] / tried[name]:6.1f} % noticed"
        for name in sorted(tried, key=lambda name: (name == "all", name))
    ]
