"""A drawing shows every edge of the network once, downwards, and no two lines on each other."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

import netinverse as ni
from netinverse.networks.layout import Layout, layout
from tests.networks.zoo import ZOO

DRAWN = ["ResNet-18", "DenseNet", "ShuffleNetV2, short", "U-Net, transposed", "ViT", "mlp"]


@pytest.fixture(scope="module", params=DRAWN)
def network(request: pytest.FixtureRequest) -> ni.LiftedNetwork:
    if request.param == "mlp":
        return ni.mlp([5, 4, 3])
    architecture = ZOO[request.param]
    return ni.lift(architecture.model(), torch.zeros(1, *architecture.input_shape, dtype=torch.float64))


@pytest.fixture(scope="module")
def plan(network: ni.LiftedNetwork) -> Layout:
    return layout(network)


def test_every_node_has_a_place(network: ni.LiftedNetwork, plan: Layout) -> None:
    placed = [node.name for cell in plan.cells.values() for node in cell.nodes]
    assert sorted(placed) == sorted(node.name for node in network.nodes)
    places = [(cell.row, cell.place) for cell in plan.cells.values()]
    assert len(set(places)) == len(places)


def test_every_edge_is_in_a_cell_an_arrow_or_a_lane(network: ni.LiftedNetwork, plan: Layout) -> None:
    within = {(a.name, b.name) for cell in plan.cells.values() for a, b in zip(cell.nodes, cell.nodes[1:], strict=False)}
    # An edge that enters a cell enters its first node.
    first = {name: cell.nodes[0].name for name, cell in plan.cells.items() if cell.nodes}
    arrows = {(source, first[target]) for source, target in plan.direct}
    lanes = {(lane.source, first[target]) for lane in plan.lanes for target in lane.targets}
    edges = {(name, node.name) for node in network.nodes for name in node.inputs}
    assert within | arrows | lanes == edges
    assert len(within) + len(arrows) + len(lanes) == len(edges)


def test_edges_lead_downwards_and_lanes_reach_from_their_source_to_their_last_target(plan: Layout) -> None:
    cells = plan.cells
    assert all(cells[source].row + 1 == cells[target].row for source, target in plan.direct)
    for lane in plan.lanes:
        rows = [cells[target].row for target in lane.targets]
        assert lane.first == cells[lane.source].row < min(rows) - 1
        assert lane.last == max(rows)


def test_lanes_of_one_track_do_not_meet(plan: Layout) -> None:
    for a, b in combinations(plan.lanes, 2):
        assert a.track != b.track or a.last <= b.first or b.last <= a.first


def test_tracks_are_no_more_than_values_on_their_way_at_once(plan: Layout) -> None:
    """First fit needs more than the busiest gap at times, but not twice as many."""
    busiest = max((sum(lane.first <= row < lane.last for lane in plan.lanes) for row in range(len(plan.rows))), default=0)
    assert 1 + max((lane.track for lane in plan.lanes), default=-1) <= max(2 * busiest, 0)
