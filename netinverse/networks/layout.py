"""Where the nodes of a lifted network stand in a drawing: cells in rows, and lanes for the values that skip a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netinverse.networks.graph import LiftedNetwork
    from netinverse.networks.node import Node


@dataclass(frozen=True)
class Cell:
    """A box: the input (without nodes), a node, or an affine node with the activation that alone takes its value.

    ``name`` is that of its value, ``inputs`` are names of cells. ``place`` is the position in the row, in cells, zero in the
    middle.
    """

    name: str
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    row: int
    place: float


@dataclass(frozen=True)
class Lane:
    """The value of ``source`` on its way past the rows between it and ``targets``: a vertical line with a branch to each."""

    source: str
    targets: tuple[str, ...]
    first: int
    last: int
    track: int


@dataclass(frozen=True)
class Layout:
    """Every edge leads downwards: to the next row directly, to a later one by a lane. No two lanes lie on each other."""

    cells: dict[str, Cell]
    lanes: tuple[Lane, ...]

    @property
    def rows(self) -> tuple[tuple[Cell, ...], ...]:
        count = 1 + max(cell.row for cell in self.cells.values())
        return tuple(tuple(cell for cell in self.cells.values() if cell.row == row) for row in range(count))

    @property
    def direct(self) -> tuple[tuple[str, str], ...]:
        """The edges from a row to the next."""
        cells = self.cells
        return tuple((i, c.name) for c in cells.values() for i in c.inputs if cells[i].row == c.row - 1)


def layout(network: LiftedNetwork) -> Layout:
    """Rows by the longest path from the input, the cells of a row in the order of what they take."""
    groups = _groups(network)
    rows = {network.input_name: 0}
    for nodes in groups:
        rows[nodes[-1].name] = 1 + max(rows[name] for name in nodes[0].inputs)
    places = _places(network, groups, rows)
    cells = {network.input_name: Cell(network.input_name, (), (), 0, 0.0)}
    for nodes in groups:
        name = nodes[-1].name
        cells[name] = Cell(name, nodes, tuple(dict.fromkeys(nodes[0].inputs)), rows[name], places[name])
    return Layout(cells, _lanes(cells))


def _groups(network: LiftedNetwork) -> list[tuple[Node, ...]]:
    """The nodes in order, an affine node together with the activation that is alone in taking its value, and takes no other."""
    users: dict[str, list[Node]] = {node.name: [] for node in network.nodes}
    for node in network.nodes:
        for name in node.inputs:
            users.get(name, []).append(node)
    names = {node.name: node for node in network.nodes}

    def source(node: Node) -> Node | None:
        found = names.get(node.inputs[0]) if len(node.inputs) == 1 else None
        return found if found and found.kind == "affine" and node.kind != "affine" and users[found.name] == [node] else None

    taken = {found.name for node in network.nodes if (found := source(node))}
    pairs = [(source(node), node) for node in network.nodes if node.name not in taken]
    return [(node,) if before is None else (before, node) for before, node in pairs]


def _places(network: LiftedNetwork, groups: list[tuple[Node, ...]], rows: dict[str, int]) -> dict[str, float]:
    """The cells of each row side by side, ordered by the mean place of their inputs."""
    places = {network.input_name: 0.0}
    for row in range(1, 1 + max(rows.values())):
        members = [nodes for nodes in groups if rows[nodes[-1].name] == row]
        members.sort(key=lambda nodes: sum(places[name] for name in nodes[0].inputs) / len(nodes[0].inputs))
        for k, nodes in enumerate(members):
            places[nodes[-1].name] = k - (len(members) - 1) / 2
    return places


def _lanes(cells: dict[str, Cell]) -> tuple[Lane, ...]:
    """One lane for each value that skips a row; short ones inside, each on the first track that is free all along it."""
    reach: dict[str, list[str]] = {}
    for cell in cells.values():
        for name in cell.inputs:
            if cells[name].row < cell.row - 1:
                reach.setdefault(name, []).append(cell.name)
    spans = [(cells[name].row, max(cells[t].row for t in targets), name) for name, targets in reach.items()]
    tracks: list[list[tuple[int, int]]] = []
    lanes = []
    for first, last, name in sorted(spans, key=lambda span: (span[1] - span[0], span[0])):
        free = (k for k, taken in enumerate(tracks) if all(last <= a or b <= first for a, b in taken))
        track = next(free, len(tracks))
        if track == len(tracks):
            tracks.append([])
        tracks[track].append((first, last))
        lanes.append(Lane(name, tuple(reach[name]), first, last, track))
    return tuple(lanes)
