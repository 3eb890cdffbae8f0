"""Small deep networks, and inverse problems behind them, for the tests of solvers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netinverse.fidelities import SquaredFidelity, default_fidelity
from netinverse.networks import LiftedNetwork, NetworkOutput, lift
from netinverse.problems import InverseProblem
from netinverse.protocols import ProximalFunction
from netinverse.regularisers import Regulariser

F64 = torch.float64
SHAPE, BATCH = (1, 5, 5), 3
ALPHA = torch.tensor([0.01, 0.03, 0.1], dtype=F64)


def layered(*widths: int, activation: type[nn.Module] = nn.ReLU, last: type[nn.Module] | None = nn.ReLU) -> nn.Sequential:
    """Flatten, then linear layers of the widths; float64, seeded."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        parts: list[nn.Module] = [nn.Flatten()]
        for a, b in zip((25, *widths), widths, strict=False):
            parts += [nn.Linear(a, b), activation()]
        parts = parts[:-1] + ([] if last is None else [last()])
        return nn.Sequential(*parts).double().eval().requires_grad_(False)


def lifted(model: nn.Module) -> LiftedNetwork:
    return lift(model, torch.zeros(2, *SHAPE, dtype=F64))


def truth() -> Tensor:
    x = torch.zeros(BATCH, *SHAPE, dtype=F64)
    x[0, 0, 1:4, 1:3], x[1, 0, 2:, 2:], x[2, 0, :, 3] = 1.0, 0.7, 0.5
    return x


def problem_of(
    model: nn.Module,
    regulariser: Regulariser,
    constraint: ProximalFunction | None = None,
    *,
    affine: bool = False,
    squared: bool = False,
    samples: slice = slice(None),
) -> InverseProblem:
    network = lifted(model)
    fidelity = SquaredFidelity() if squared else default_fidelity(network)
    clean = model(truth())
    noise = 0.02 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(8), dtype=F64)
    data = network.output_potential.project(clean + noise)[samples]
    return InverseProblem(
        variable=fidelity.variable(network),
        output=NetworkOutput(network),
        term=fidelity.at(network, data),
        data=data,
        regulariser=regulariser,
        constraint=constraint,
        alpha=ALPHA[samples],
        affine=affine,
    )


def zeros(batch: int = BATCH) -> Tensor:
    return torch.zeros(batch, *SHAPE, dtype=F64)
