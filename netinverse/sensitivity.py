"""Does a network react to its input at all, and does it near this one? What no rule and no solver can see."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from netinverse.methods import MethodResult
from netinverse.networks import LiftedNetwork
from netinverse.operators.linear import norm_bound
from netinverse.problems import InverseProblem
from netinverse.solvers.status import Status
from netinverse.tensors import choose, norm

# Sizes of the inputs tried: from hundredths to millions, so that a network made for inputs in [0, 255] reacts as one for [0, 1].
SCALES = tuple(10.0**k for k in range(-2, 7))


def is_constant(network: LiftedNetwork, problem: InverseProblem, x: Tensor, seed: int) -> Tensor:
    """Where the output at x is that at random inputs of all sizes, moved into the constraint set, to rounding; ``(batch,)``.

    The random inputs are the same for every sample, so a sample's answer does not depend on its neighbours.
    """
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn((2, *x.shape[1:]), generator=generator, dtype=torch.float64).to(x)
    probes = problem.feasible(torch.cat([sign * scale * direction for scale in SCALES for sign in (1.0, -1.0)]))
    with torch.no_grad():
        tried = torch.cat([network(pair) for pair in torch.split(probes, 2)])  # in the memory of two
        here: Tensor = network(x)
    rounding = 16 * torch.finfo(x.dtype).eps * tried[0].abs().max()
    same: Tensor = ((tried - tried[:1]).abs() <= rounding).all()
    return same & ((here - tried[:1]).abs() <= rounding).flatten(1).all(1)


def is_flat(problem: InverseProblem, x: Tensor, seed: int) -> Tensor:
    """Where the derivative z'(x) is zero although z(x) does not fit the data; ``(batch,)``.

    There the gradient of the fidelity is zero whatever the data are, and a stationarity residual of zero means nothing. One
    random covector tells, with probability 1. A convex problem has no such points but where the network is constant.
    """
    value, derivative = problem.variable.linearise(x)
    covector = torch.randn(value.shape[1:], generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(value)
    pulled = derivative.adjoint(covector.expand_as(value).contiguous())
    return (norm(pulled) == 0) & (norm(problem.term.gradient(value)) > 0)


def overflows(problem: InverseProblem, x: Tensor) -> Tensor:
    """Where ||z'(x)||^2, of which every step length is made, is no finite number, though z'(x) itself is one; ``(batch,)``."""
    _, derivative = problem.variable.linearise(x)
    finite = torch.isfinite(derivative(torch.ones_like(x))).flatten(1).all(1)
    return finite & ~torch.isfinite(norm_bound(derivative, x).square())


# What a solver says that has no step to make; a norm that overflows explains all of them.
_EXPLAINED_BY_OVERFLOW = (Status.STALLED, Status.STEP_LIMIT, Status.DIVERGED)
# What a rule or a solver says where nothing reacts; a flat point explains all of them.
_EXPLAINED_BY_FLATNESS = (
    *(Status.CONVERGED, Status.UNREACHABLE, Status.STEP_LIMIT, Status.STALLED),
    *(Status.RESIDUAL_JUMPS, Status.SEARCH_LIMIT),
)


def judged(
    result: MethodResult, problem: InverseProblem, start: Tensor, constant: Tensor, contradicted: Tensor, seed: int
) -> MethodResult:
    """The result with what follows from the network and the data: CONSTANT_NETWORK, DATA_OUTSIDE_RANGE, OVERFLOW, FLAT.

    ``constant`` as ``is_constant`` says; such samples keep their ``start``. ``contradicted``: where the data lie farther from the
    range than their noise level allows.
    """
    flat = torch.zeros_like(constant) if problem.affine else is_flat(problem, result.x, seed)
    unsolved = any(old in _EXPLAINED_BY_OVERFLOW for old in result.status)
    steep = overflows(problem, result.x) if unsolved else torch.zeros_like(constant)
    status = list(result.status)
    for i, old in enumerate(result.status):
        if constant[i]:
            status[i] = Status.CONSTANT_NETWORK
        elif contradicted[i]:
            status[i] = Status.DATA_OUTSIDE_RANGE
        elif steep[i] and old in _EXPLAINED_BY_OVERFLOW:
            status[i] = Status.OVERFLOW
        elif flat[i] and old in _EXPLAINED_BY_FLATNESS:
            status[i] = Status.FLAT
    unknown = torch.full_like(result.alpha, torch.nan)
    return replace(
        result,
        status=tuple(status),
        x=choose(constant, start, result.x),
        alpha=torch.where(constant, unknown, result.alpha),
        objective=torch.where(constant, unknown, result.objective),
        certificate=replace(result.certificate, value=torch.where(constant, unknown, result.certificate.value)),
    )
