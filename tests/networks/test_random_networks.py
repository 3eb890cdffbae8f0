"""Laws of lifting on random networks: drawn as source code, line by line, from the operators that can be lifted."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from netinverse.networks import LiftedNetwork, lift
from tests.networks.drawn import EXACT, SMOOTH, Drawn, networks
from tests.networks.laws import affine_nodes_have_exact_adjoints, energy_is_zero_at_the_forward_pass_alone, random_like

torch.set_num_threads(1)

DRAWING = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


def lifted(drawn: Drawn, dtype: torch.dtype, tolerance: float) -> LiftedNetwork:
    """The lifted network, which equals the model in units of the largest value on the way: two branches may cancel.

    torch's softplus is the identity from 20 on, which is off by exp(-20).
    """
    model = drawn.model(dtype)
    tolerance = max(tolerance, 1e-8) if "softplus" in drawn.operators else tolerance
    network = lift(model, torch.zeros(1, *drawn.input_shape, dtype=dtype))
    with torch.no_grad():
        for batch in (1, 3):
            x = random_like(batch, *drawn.input_shape, dtype=dtype, seed=batch)
            scale = max(value.abs().max() for value in model.trace(x.clone()))
            expected, found = model(x), network(x)
            assert found.dtype == dtype and found.shape == expected.shape
            assert (found - expected).abs().max() <= tolerance * scale
    return network


def laws_hold(drawn: Drawn) -> LiftedNetwork:
    network = lifted(drawn, torch.float64, 1e-12)
    affine_nodes_have_exact_adjoints(network)
    energy_is_zero_at_the_forward_pass_alone(network)
    return network


@given(networks(EXACT))
@settings(DRAWING, max_examples=15)
def test_networks_that_can_be_lifted_exactly(drawn: Drawn) -> None:
    assert laws_hold(drawn).is_exactly_lifted


@pytest.mark.slow
@given(networks(EXACT))
@settings(DRAWING, max_examples=300)
def test_many_networks_that_can_be_lifted_exactly(drawn: Drawn) -> None:
    assert laws_hold(drawn).is_exactly_lifted


@pytest.mark.slow
@given(networks(EXACT | SMOOTH, last=SMOOTH))
@settings(DRAWING, max_examples=60)
def test_networks_with_smooth_nodes(drawn: Drawn) -> None:
    network = laws_hold(drawn)
    assert not network.is_exactly_lifted
    assert all(node.name in network.summary() for node in network.nodes if node.kind == "smooth")


@pytest.mark.slow
@given(networks(EXACT))
@settings(DRAWING, max_examples=60)
def test_networks_in_float32(drawn: Drawn) -> None:
    assert lifted(drawn, torch.float32, 1e-5).is_exactly_lifted


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_every_operator_by_itself(name: str) -> None:
    """So that none of them is missing from what is drawn."""

    @given(networks({name: EXACT[name]} | {"branching": EXACT["branching"]}, last={name: EXACT[name]}))
    @settings(DRAWING, max_examples=4, database=None)
    def holds(drawn: Drawn) -> None:
        assert laws_hold(drawn).is_exactly_lifted

    holds()
