"""Laws of lifting on published architectures: the same function, the same parameters, exact adjoints, a lifted energy."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

from netinverse.networks import LiftedNetwork, lift
from tests.networks.laws import (
    affine_nodes_have_exact_adjoints,
    block_gradients_are_central_differences,
    energy_is_zero_at_the_forward_pass_alone,
    random_like,
)
from tests.networks.zoo import ZOO

torch.set_num_threads(1)

EVERY = [pytest.param(name, marks=pytest.mark.slow) if ZOO[name].is_deep else name for name in ZOO]
QUICK_IN_FLOAT32 = {"VGG-11-BN", "AlexNet", "autoencoder", "ViT"}
EVERY_FLOAT32 = [name if name in QUICK_IN_FLOAT32 else pytest.param(name, marks=pytest.mark.slow) for name in ZOO]


@cache
def lifted(name: str, dtype: torch.dtype) -> tuple[nn.Module, LiftedNetwork]:
    model = ZOO[name].model(dtype)
    return model, lift(model, torch.zeros(1, *ZOO[name].input_shape, dtype=dtype))


def outputs_agree(name: str, dtype: torch.dtype, tolerance: float) -> None:
    model, network = lifted(name, dtype)
    with torch.no_grad():
        for batch in (1, 3):
            x = random_like(batch, *ZOO[name].input_shape, dtype=dtype, seed=batch)
            expected, found = model(x), network(x)
            assert found.dtype == dtype and found.shape == expected.shape
            assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("name", EVERY)
def test_the_output_is_that_of_the_model(name: str) -> None:
    outputs_agree(name, torch.float64, 1e-12)


@pytest.mark.parametrize("name", EVERY_FLOAT32)
def test_the_output_is_that_of_the_model_in_float32(name: str) -> None:
    outputs_agree(name, torch.float32, 1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_parameters_are_shared_and_nothing_is_copied(name: str) -> None:
    """Beside the model's own tensors there are a few indices, less than a hundredth of what even these narrow models hold."""
    model, network = lifted(name, torch.float64)
    of_model, of_network = (
        {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in (*module.parameters(), *module.buffers())}
        for module in (model, network)
    )
    assert {id(p) for p in network.parameters()} == {id(p) for p in model.parameters()}
    own = of_network.keys() - of_model.keys()
    assert sum(of_network[pointer] for pointer in own) <= 0.01 * sum(of_model.values())


@pytest.mark.parametrize("name", EVERY)
def test_a_change_of_the_model_is_a_change_of_the_network(name: str) -> None:
    model, network = lifted(name, torch.float64)
    x = random_like(1, *ZOO[name].input_shape)
    with torch.no_grad():
        before, kept = network(x), [p.clone() for p in model.parameters()]
        for parameter in model.parameters():
            parameter.mul_(0.9)
        expected, found = model(x), network(x)
        for parameter, old in zip(model.parameters(), kept, strict=True):
            parameter.copy_(old)
        assert (expected - before).abs().max() > 1e-3 * before.abs().max()
        assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()
        assert network(x).equal(before)


@pytest.mark.parametrize("name", EVERY)
def test_affine_nodes_have_exact_adjoints(name: str) -> None:
    affine_nodes_have_exact_adjoints(lifted(name, torch.float64)[1])


@pytest.mark.parametrize("name", EVERY)
def test_the_energy_is_zero_at_the_forward_pass_and_positive_elsewhere(name: str) -> None:
    energy_is_zero_at_the_forward_pass_alone(lifted(name, torch.float64)[1])


@pytest.mark.parametrize("name", EVERY)
def test_block_gradients_are_central_differences(name: str) -> None:
    block_gradients_are_central_differences(lifted(name, torch.float64)[1])


@pytest.mark.parametrize("name", EVERY)
def test_what_can_be_lifted_exactly_is(name: str) -> None:
    """What cannot is named in the summary, and is of the operators that the architecture is known to have."""
    network = lifted(name, torch.float64)[1]
    smooth = [node.name for node in network.nodes if node.kind == "smooth"]
    assert network.is_exactly_lifted == ZOO[name].is_exactly_liftable, smooth
    table = network.summary()
    assert all(node in table for node in smooth)
    assert all(any(operator in node for node in smooth) for operator in ZOO[name].smooth)
    assert all(any(operator in node for operator in ZOO[name].smooth) for node in smooth)
