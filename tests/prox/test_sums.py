"""The proximal map of a sum against a lattice that contains the kinks, and against Clarabel."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

import netinverse as ni
from netinverse.protocols import ProximalFunction
from netinverse.prox import ElasticNetPotential, NonNegativeL1, Zero, potential_of, prox_of_sum
from netinverse.prox.groups import GroupL21

POTENTIALS = {
    "identity": Zero(),
    "relu": potential_of("relu"),
    "soft": ni.L1(0.4),
    "box": ni.Box(-1.0, 1.0),
    "far box": ni.Box(0.5, 2.0),
    "below": ni.Box(-2.0, -0.5),
    "tanh": potential_of("tanh"),
    "sigmoid": potential_of("sigmoid"),
    "elu": potential_of("elu"),
    "leaky": potential_of(torch.nn.LeakyReLU(0.2)),
    "shifted": NonNegativeL1(0.3),
}
ADDED = {
    "l1": ni.L1(0.5),
    "squared": ni.SquaredNorm(0.7),
    "elastic": ElasticNetPotential(0.3, 0.5),
    "nonnegative": ni.NonNegative(),
    "box": ni.Box(-0.7, 0.8),
    "sparse": NonNegativeL1(0.2),
}
CLOSE = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-10)
X = torch.linspace(-3, 3, 61, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("added", ADDED)
@pytest.mark.parametrize("potential", POTENTIALS)
@pytest.mark.parametrize("step", [0.5, torch.linspace(0.1, 2, 61, dtype=torch.float64)], ids=["0.5", "by sample"])
def test_the_map_of_a_sum_is_the_minimiser_on_a_lattice(potential: str, added: str, step: float | torch.Tensor) -> None:
    f, g = POTENTIALS[potential], ADDED[added]
    if potential == "below" and added in ("nonnegative", "sparse"):
        with pytest.raises(ValueError, match="is finite nowhere where"):
            prox_of_sum(f, g)
        return
    found = prox_of_sum(f, g)(X, step)
    lattice = torch.linspace(-4, 4, 1601, dtype=torch.float64)

    def objective(v: torch.Tensor) -> torch.Tensor:
        """(61, n) -> (61, n)."""
        flat = v.reshape(-1, 1)
        both = (f(flat) + g(flat)).reshape(v.shape)
        return torch.as_tensor(step, dtype=v.dtype).reshape(-1, 1) * both + 0.5 * (v - X).square()

    best = objective(lattice.expand(61, -1)).amin(1)
    assert bool((objective(found)[:, 0] <= best + 1e-12).all())


@pytest.mark.parametrize("potential", ["identity", "relu", "soft", "shifted"])
def test_groups_against_clarabel(potential: str) -> None:
    x = np.array([[0.9, -0.4, 1.2], [0.2, 0.1, -0.3], [2.0, 1.0, 0.5]])
    found = prox_of_sum(POTENTIALS[potential], GroupL21(1, 0.6))(torch.as_tensor(x), 0.8).numpy()
    v = cp.Variable(x.shape)
    own = {"identity": 0, "relu": 0, "soft": 0.4 * cp.sum(cp.abs(v)), "shifted": 0.3 * cp.sum(v)}[potential]
    constraints = [v >= 0] if potential in ("relu", "shifted") else []
    groups = 0.6 * cp.sum(cp.norm(v, 2, axis=1))
    cp.Problem(cp.Minimize(0.8 * (own + groups) + 0.5 * cp.sum_squares(v - x)), constraints).solve(cp.CLARABEL, **CLOSE)
    np.testing.assert_allclose(found, v.value, atol=1e-5)


@pytest.mark.parametrize(
    ("f", "g"),
    [(potential_of("softmax"), ni.L1(0.1)), (potential_of("tanh"), GroupL21()), (potential_of("relu"), ni.NuclearNorm())],
    ids=["softmax", "groups of tanh", "nuclear"],
)
def test_a_pair_without_a_known_map_is_refused(f: ProximalFunction, g: ProximalFunction) -> None:
    with pytest.raises(ValueError, match=f"no proximal map is known for {type(f).__name__} . {type(g).__name__}. Known are L1"):
        prox_of_sum(f, g)
