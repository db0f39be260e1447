"""One run of everything: some workers run machines, the others what needs none, at low priority.

`pytest -n 4 --machines 2` has two of each. A machine waits for its disks and for time-outs now and
then, and leaves the processors to the others meanwhile.
"""

from __future__ import annotations

from collections import defaultdict

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from tests.times import SYSTEM

# Tests of a module that stay together for the sake of fixtures that they share; machines' all do.
TOGETHER = 32


class Lanes(LoadScopeScheduling):  # type: ignore[misc]
    """Gives the machines' modules to some of the workers, in order, and all else to the others.

    Who has run all machines helps those.
    """

    def __init__(self, config: pytest.Config, machines: int) -> None:
        super().__init__(config)
        config.option.loadscopereorder = False  # the longest come first as they were collected
        self._machines = machines
        self._runs_machines: dict[WorkerController, bool] = {}
        self._scopes: dict[str, str] = {}

    def schedule(self) -> None:
        """Cut what is collected into what is given away at once."""
        if not self._scopes:
            self._scopes = scopes(next(iter(self.registered_collections.values())))
        super().schedule()

    def remove_node(self, node: WorkerController) -> str | None:
        """Forget a worker that has ended; one that replaces it may get what it has left."""
        self._runs_machines.pop(node, None)
        crashed: str | None = super().remove_node(node)
        return crashed

    def _split_scope(self, nodeid: str) -> str:
        return self._scopes[nodeid]

    def _reschedule(self, node: WorkerController) -> None:
        # A worker begins its last test when it knows what follows.
        if not node.shutting_down and self._pending_of(self.assigned_work[node]) < 2:
            self._assign_work_unit(node)

    def _assign_work_unit(self, node: WorkerController) -> None:
        machines = self._lane(node)
        for scope in self.workqueue:
            if scope.startswith(SYSTEM) == machines:
                self.workqueue.move_to_end(scope, last=False)
                super()._assign_work_unit(node)
                return
        if machines and self.workqueue:  # none is left: whoever had them has processors to give
            super()._assign_work_unit(node)
            return
        node.shutdown()

    def _lane(self, node: WorkerController) -> bool:
        """Return whether a worker runs machines, for which there are to be enough."""
        if node not in self._runs_machines:
            waiting = any(scope.startswith(SYSTEM) for scope in self.workqueue)
            enough = sum(self._runs_machines.values()) >= self._machines
            self._runs_machines[node] = waiting and not enough
        return self._runs_machines[node]


def scopes(nodeids: list[str]) -> dict[str, str]:
    """Return what each test is given away with: its module, or a part of that."""
    seen: dict[str, int] = defaultdict(int)
    found = {}
    for nodeid in nodeids:
        module = nodeid.split("::")[0]
        part = 0 if module.startswith(SYSTEM) else seen[module] // TOGETHER
        seen[module] += 1
        found[nodeid] = f"{module}/{part}"
    return found
