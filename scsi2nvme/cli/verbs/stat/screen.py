"""`top`: the reports of `stat` on the whole screen, the busiest first."""

from __future__ import annotations

import curses
import time
from collections.abc import Sequence
from pathlib import Path

from scsi2nvme.api.statistics import STATISTICS, AllCounts
from scsi2nvme.cli.control import ask
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.verbs.stat.reports import busiest_first, lines, table
from scsi2nvme.printable import printable


def watch(state_dir: Path, by: str, groups: Sequence[str], interval: float) -> None:
    """Show reports until somebody presses q; the first letter of one of `groups` chooses that.

    OperationError if there is no daemon in the beginning, or no such terminal; later ones are told
    of on the screen, as the daemon may come back.
    """
    first = ask(state_dir, STATISTICS)
    try:
        curses.wrapper(lambda screen: _Screen(screen, state_dir, by, groups, interval).run(first))
    except curses.error as error:
        raise OperationError(f"the terminal cannot do that: {error}; see TERM") from None


def fitting(text: str, columns: int) -> str:
    """Return as much of a text as fits, in ASCII: curses counts in bytes where the locale is C."""
    return printable(text[:columns]).encode("ascii", "backslashreplace").decode()[:columns]


class _Screen:
    def __init__(
        self,
        screen: curses.window,
        state_dir: Path,
        by: str,
        groups: Sequence[str],
        interval: float,
    ) -> None:
        self._screen = screen
        self._state_dir = state_dir
        self._by = by
        self._by_key = {ord(name[0]): name for name in groups}
        self._interval = interval
        self._before: AllCounts | None = None
        self._told = ""

    def run(self, now: AllCounts) -> None:
        """Draw, and wait for keys, again and again."""
        self._draw(now)
        while self._waited():
            self._before, self._told = now, ""
            try:
                now = ask(self._state_dir, STATISTICS)
            except OperationError as error:
                self._told = str(error)
            self._draw(now)

    def _waited(self) -> bool:
        """Wait until the screen is to be made anew; False: the end is asked for."""
        due = time.monotonic() + self._interval
        while (left := due - time.monotonic()) > 0:
            self._screen.timeout(max(1, int(1000 * left)))
            key = self._screen.getch()
            if key == ord("q"):
                return False
            if key in self._by_key:
                self._by = self._by_key[key]
                return True
            if key == curses.KEY_RESIZE:
                return True
        return True

    def _draw(self, now: AllCounts) -> None:
        before = self._before if self._before is not now else None
        reported = busiest_first(lines(before, now, self._by))
        up = int(now.uptime_us / 1e6)
        head = self._told or f"scsi2nvme  up {up} s  {len(now.sessions)} sessions  q: end"
        rows, columns = self._screen.getmaxyx()
        self._screen.erase()
        for at, text in enumerate([head, "", *table(self._by, reported).splitlines()][: rows - 1]):
            shown = fitting(text, columns - 1)
            self._screen.addstr(at, 0, shown, curses.A_BOLD if at in (0, 2) else curses.A_NORMAL)
        self._screen.refresh()
