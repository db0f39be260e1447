"""A dependency graph: edges with a note, its circles, its condensation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field


@dataclass
class Graph:
    """Who depends on whom; every edge knows why it is there, in sorted notes."""

    nodes: set[str] = field(default_factory=set)
    edges: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def add(self, source: str, target: str, note: str = "") -> None:
        """Add an edge; one to itself is none."""
        self.nodes |= {source, target}
        if source != target:
            self.edges.setdefault((source, target), set()).add(note)

    def after(self, node: str) -> list[str]:
        """Return what `node` depends on, sorted."""
        return sorted(target for source, target in self.edges if source == node)

    def merged(self, room: Callable[[str], str]) -> Graph:
        """Return the graph of rooms: `room` says where a node lies.

        The notes of its edges are the edges that cause them.
        """
        rooms = Graph({room(node) for node in self.nodes})
        for source, target in self.edges:
            rooms.add(room(source), room(target), f"{source} -> {target}")
        return rooms

    def circles(self) -> list[tuple[str, ...]]:
        """Return what depends on itself by way of others, each circle sorted."""
        after: dict[str, list[str]] = {node: [] for node in self.nodes}
        for source, target in self.edges:
            after[source].append(target)
        components = strongly_connected(sorted(self.nodes), after)
        return sorted(tuple(sorted(each)) for each in components if len(each) > 1)

    def inside(self, circle: Iterable[str]) -> Iterator[tuple[str, str, str]]:
        """Yield the edges within a circle: source, target, notes."""
        members = set(circle)
        for (source, target), notes in sorted(self.edges.items()):
            if {source, target} <= members:
                yield source, target, ", ".join(sorted(notes - {""}))


def strongly_connected(nodes: Iterable[str], after: dict[str, list[str]]) -> list[list[str]]:
    """Return the strongly connected components. Tarjan, SIAM J. Comput. 1 (1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in after[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            start = stack.index(node)
            found.append(stack[start:])
            del stack[start:]

    for node in nodes:
        if node not in index:
            visit(node)
    return found
