"""Every activation with every regulariser, constraint and kind of layer: converged, and nothing is left beyond the certificate.

The second solver is Newton's method on the fidelity, every model of it solved by Clarabel with the regulariser and the constraint
as cvxpy writes them. Where two of its points agree, the second is the minimiser.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache

import cvxpy as cp
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

import netinverse as ni
from netinverse.networks import PreActivation
from netinverse.protocols import ProximalFunction
from netinverse.prox import Box, NonNegative, Simplex

F64 = torch.float64
SHAPE = (2, 2, 4)
ALPHA, TOLERANCE = 0.05, 1e-5

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky": lambda: nn.LeakyReLU(0.2),
    "prelu": lambda: nn.PReLU(init=0.3),
    "hardtanh": nn.Hardtanh,
    "hardsigmoid": nn.Hardsigmoid,
    "softshrink": lambda: nn.Softshrink(0.1),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "log-sigmoid": nn.LogSigmoid,
    "softsign": nn.Softsign,
    "elu": nn.ELU,
    "celu": nn.CELU,
    "softmax": lambda: nn.Softmax(-1),
}
TV, TGV = ni.TotalVariation(), ni.TotalGeneralisedVariation()
REGULARISERS: dict[str, object] = {
    "tv": TV,
    "anisotropic": ni.TotalVariation(isotropic=False),
    "huber": ni.HuberTotalVariation(0.1),
    "tikhonov": ni.Tikhonov(),
    "sparsity": ni.Sparsity(),
    "elastic net": ni.ElasticNet(),
    "wavelets": ni.WaveletSparsity("haar", levels=1),
    "groups": ni.GroupSparsity(),
    "tgv": TGV,
}
CONSTRAINTS: dict[str, ProximalFunction | None] = {
    "free": None,
    "box": Box(0.0, 0.8),
    "nonnegative": NonNegative(),
    "simplex": Simplex(),
}
LAYERS: dict[str, Callable[[], list[nn.Module]]] = {
    "dense": lambda: [nn.Flatten(), nn.Linear(16, 12)],
    "convolution": lambda: [nn.Conv2d(2, 2, 2, padding=1)],
}


def groups(matrix: npt.NDArray[np.float64], x: cp.Expression, count: int, norm: int = 2) -> cp.Expression:
    """The lengths of the groups along the first axis of K x."""
    return cp.norm(cp.reshape(matrix @ x, (count, matrix.shape[0] // count), order="C"), norm, axis=0)


@cache
def matrix(name: str) -> npt.NDArray[np.float64]:
    """K, from its columns."""
    regulariser = REGULARISERS[name]
    joint = TGV.penalty(SHAPE) if name == "tgv" else regulariser
    shape = TGV.unknowns(SHAPE) if name == "tgv" else SHAPE
    units = torch.eye(int(np.prod(shape)), dtype=F64).reshape(-1, *shape)
    return joint.transform(shape)(units).flatten(1).T.numpy()  # type: ignore[attr-defined,no-any-return]


def penalty(name: str, x: cp.Expression) -> cp.Expression:
    match name:
        case "tv":
            return cp.sum(groups(matrix(name), x, 2))
        case "anisotropic" | "wavelets" | "sparsity":
            return cp.norm1(matrix(name) @ x)
        case "huber":
            return cp.sum(cp.huber(groups(matrix(name), x, 2), 0.1)) / 0.2
        case "tikhonov":
            return 0.5 * cp.sum_squares(x)
        case "elastic net":
            return cp.norm1(x) + 0.5 * cp.sum_squares(x)
        case "groups":
            return cp.sum(cp.norm(cp.reshape(x, (2, 8), order="C"), 2, axis=0))
    field = cp.Variable(32)
    return cp.sum(groups(matrix("tgv"), cp.hstack([x, field]), 4))


def limits(name: str, x: cp.Expression) -> list[cp.Constraint]:
    image = cp.reshape(x, (4, 4), order="C")
    return {
        "free": [],
        "box": [x >= 0, x <= 0.8],
        "nonnegative": [x >= 0],
        "simplex": [x >= 0, cp.sum(image, axis=1) == 1],
    }[name]


@cache
def network(layer: str, activation: str) -> tuple[nn.Sequential, ni.LiftedNetwork]:
    torch.manual_seed(3)
    model = nn.Sequential(*LAYERS[layer](), ACTIVATIONS[activation]()).double().eval().requires_grad_(False)
    return model, ni.lift(model, torch.zeros(1, *SHAPE, dtype=F64))


def data_of(model: nn.Sequential) -> Tensor:
    """Noise before the activation keeps the data in its range."""
    truth = torch.zeros(1, *SHAPE, dtype=F64)
    truth[:, 0, :, :2], truth[..., 3] = 0.6, 0.2
    z = model[:-1](truth)
    return model[-1](z + 0.1 * torch.randn(z.shape, generator=torch.Generator().manual_seed(4), dtype=F64))


@cache
def posed(regulariser: str, constraint: str) -> tuple[cp.Problem, cp.Variable, cp.Parameter, cp.Parameter, cp.Expression]:
    """min over v of 1/2||H v||^2 + <g, v> + alpha R(v) over C, with H and g still open; compiled once."""
    v, root, slope = cp.Variable(16), cp.Parameter((16, 16)), cp.Parameter(16)
    weighted = ALPHA * penalty(regulariser, v)
    return (
        cp.Problem(cp.Minimize(0.5 * cp.sum_squares(root @ v) + slope @ v + weighted), limits(constraint, v)),
        v,
        root,
        slope,
        weighted,
    )


def least(
    model: nn.Sequential, lifted: ni.LiftedNetwork, data: Tensor, start: Tensor, regulariser: str, constraint: str
) -> float:
    """The least objective, by Newton's method from ``start``."""
    potential, variable = lifted.output_potential, PreActivation(lifted)
    columns = variable.linearise(start)[1](torch.eye(16, dtype=F64).reshape(16, *SHAPE)).flatten(1).T.numpy()
    problem, v, root, slope, weighted = posed(regulariser, constraint)
    point, lowest, previous = start, np.inf, np.inf
    for _ in range(30):
        jacobian = torch.autograd.functional.jacobian(model, point).reshape(data.numel(), 16).numpy()
        hessian = columns.T @ jacobian
        values, vectors = np.linalg.eigh(0.5 * (hessian + hessian.T))
        root.value = np.sqrt(values.clip(min=0))[:, None] * vectors.T
        gradient = columns.T @ (model(point) - data).flatten().numpy()
        slope.value = gradient - root.value.T @ (root.value @ point.flatten().numpy())
        problem.solve(solver="CLARABEL", tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
        point = torch.as_tensor(v.value).reshape(1, *SHAPE)
        value = float(potential.penalty(data, variable(point))) + float(weighted.value)
        lowest = min(lowest, value)
        if abs(value - previous) <= 1e-9 * (1 + abs(value)):
            return lowest
        previous = value
    raise AssertionError(f"Newton's method did not settle: {value} after {previous}")


def check(activation: str, regulariser: str, constraint: str, layer: str) -> None:
    model, lifted = network(layer, activation)
    data = data_of(model)
    result = ni.invert(
        lifted,
        data,
        rule=ni.Fixed(ALPHA),
        regulariser=REGULARISERS[regulariser],  # type: ignore[arg-type]
        constraint=CONSTRAINTS[constraint],
        tolerance=TOLERANCE,
        max_steps=3000,
    )
    assert result.converged, result.status
    assert result.certificate.kind == "duality gap"
    penalised = TGV.penalty(SHAPE)(result.latent) if regulariser == "tgv" else REGULARISERS[regulariser](result.x)  # type: ignore[operator]
    objective, gap = float(result.fidelity_value + ALPHA * penalised), float(result.certificate.value)
    assert gap <= TOLERANCE * objective + 1e-12
    if (feasible := CONSTRAINTS[constraint]) is not None:
        assert float(feasible(result.x)) == 0
    minimum = least(model, lifted, data, result.x, regulariser, constraint)
    assert objective - minimum <= gap + 1e-8 * (1 + objective)


PRODUCT = [
    case
    for case in itertools.product(ACTIVATIONS, REGULARISERS, CONSTRAINTS, LAYERS)
    if not (case[1] == "tgv" and case[2] == "simplex")  # refused: inputs beside fields can only be bounded entry by entry
]


@pytest.mark.parametrize("case", PRODUCT[::97], ids="-".join)
def test_a_few(case: tuple[str, str, str, str]) -> None:
    check(*case)


@pytest.mark.slow
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("layer", list(LAYERS))
def test_all(activation: str, layer: str) -> None:
    failures = []
    for case in PRODUCT:
        if (case[0], case[3]) == (activation, layer):
            try:
                check(*case)
            except AssertionError as error:
                failures.append(f"{'-'.join(case)}: {error}")
    assert not failures, "\n".join(failures)
