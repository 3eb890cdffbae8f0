"""How heavy layers are by default."""

from __future__ import annotations

import torch
from torch import nn

import netinverse as ni
from netinverse.lifting.weights import downstream


def test_an_activation_that_does_not_reach_the_output_counts_as_one() -> None:
    layers = [nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)]
    nn.init.zeros_(layers[2].weight)  # type: ignore[arg-type]
    network = ni.lift(nn.Sequential(*layers).double().eval(), torch.zeros(1, 3, dtype=torch.float64))
    assert downstream(network) == (1.0,)
