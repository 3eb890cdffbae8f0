"""What follows from the parameters alone is computed once in a copy that is not trained, and the copy is the same function."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import netinverse as ni

F64 = torch.float64


class Tied(nn.Module):
    """One normalised weight and its transpose, in two affine maps, and a constant with as many rows as there are samples."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = weight_norm(nn.Linear(4, 5, dtype=F64))
        self.bent = nn.PReLU(5, dtype=F64)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.inner.weight
        z = nn.functional.linear(self.bent(self.inner(x)), weight.T)
        return torch.relu(z) + self.inner.bias[:4].expand(x.shape[0], 4)


def operators(network: ni.LiftedNetwork) -> list[str]:
    return [str(instruction.target) for node in network.nodes for instruction in node.program.instructions]


def test_a_copy_computes_no_weight_again_and_is_the_same_function() -> None:
    model = Tied().eval()
    lifted = ni.lift(model, torch.zeros(1, 4, dtype=F64))
    before = operators(lifted)
    folded = lifted.astype(F64)
    assert operators(lifted) == before and any("weight_norm" in name for name in before)
    assert not any("weight_norm" in name or "transpose" in name or "slice" in name for name in operators(folded))
    x = torch.randn(3, 4, dtype=F64)
    for network in (folded, copy.deepcopy(folded), folded.astype(F64)):
        for batch in (x, x[:1]):
            torch.testing.assert_close(network(batch), model(batch), rtol=0, atol=1e-15)
    for node, own in zip(lifted.nodes, folded.nodes, strict=True):
        if node.kind == "affine":
            inputs = tuple(torch.randn(2, *shape, dtype=F64) for shape in node.input_shapes)
            torch.testing.assert_close(own.linear(*inputs), node.linear(*inputs), rtol=0, atol=1e-15)
    torch.testing.assert_close(ni.lift(nn.Sequential(nn.Identity(), folded).eval(), x)(x), model(x), rtol=0, atol=1e-15)
    with torch.no_grad():
        model.inner.bias.add_(1.0)
    assert not torch.allclose(lifted(x), folded(x))


def test_a_network_without_such_values_is_left_as_it_is() -> None:
    lifted = ni.mlp([3, 4, 2], dtype=F64)
    assert operators(lifted.astype(F64)) == operators(lifted)
