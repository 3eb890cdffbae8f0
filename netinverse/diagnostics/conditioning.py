"""How a network treats small changes of its input: singular values of the Jacobian, and what no data can show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, nan

import torch
from torch import Tensor

from netinverse.checks import per_sample_values, require_whole
from netinverse.diagnostics.arguments import Network, network_at
from netinverse.modes import in_usual_modes
from netinverse.networks import LiftedNetwork, NetworkOutput
from netinverse.operators.bidiagonal import bidiagonalise
from netinverse.protocols import LinearMap
from netinverse.tensors import Derivative, norm, per_sample


@dataclass(frozen=True)
class Conditioning:
    """The Jacobian J of a network at x, per sample, in float64.

    largest: (batch, k), descending; smallest: (batch, k), ascending, of the min(rows, columns) singular values. rank: (batch,),
    those above rounding. condition_number: largest over smallest of all, inf where J has not full rank. noise_amplification: 1
    over the smallest value that is not zero: a change of the data along that direction moves the input by this factor, to first
    order; inf where J = 0. invisible: the component of x in the null space of J, (batch, *input_shape), which no method can see;
    invisible_share: its norm over that of x.

    complete: all singular values were found. Otherwise ``largest`` is within ``error`` (batch, k) of singular values,
    ``smallest`` is an upper bound and what follows from it a lower one, rank counts what was found, and ``invisible`` is NaN.
    """

    largest: Tensor
    smallest: Tensor
    error: Tensor
    rank: Tensor
    condition_number: Tensor
    noise_amplification: Tensor
    invisible: Tensor
    invisible_share: Tensor
    complete: bool


@in_usual_modes
def conditioning(network: Network, x: Tensor, k: int = 8, *, max_steps: int = 1024, seed: int = 0) -> Conditioning:
    """Singular values of the Jacobian at x and what follows from them, without a matrix.

    Golub-Kahan bidiagonalisation, which is exact to rounding after min(inputs, outputs) steps: smallest singular values, and
    those of higher multiplicity, are known for certain only then, and so no fewer are taken, up to ``max_steps``. It keeps
    batch * steps * (inputs + outputs) numbers. Values of at most 10 max(inputs, outputs) eps times the largest count as zero.

    Shapes: x (batch, *input_shape). k is cut to the number of singular values. At a kink J is the derivative that torch takes.
    """
    lifted, point = network_at("conditioning", network, "x", x)
    _require_counts("conditioning", k, max_steps)
    value, derivative = NetworkOutput(lifted).linearise(point)
    return _of(derivative, point, value, k, max_steps, seed)


@in_usual_modes
def layer_conditioning(
    network: Network, x: Tensor, k: int = 8, *, max_steps: int = 1024, seed: int = 0
) -> tuple[tuple[str, Conditioning], ...]:
    """``conditioning`` of x -> u_l for every activation u_l and for the output, by the names of the nodes, in their order.

    Where the rank falls or the invisible share rises from one layer to the next, that layer loses what the layers before kept.
    """
    lifted, point = network_at("layer_conditioning", network, "x", x)
    _require_counts("layer_conditioning", k, max_steps)
    last = lifted.nodes[-1]
    nodes = lifted.hidden if last in lifted.hidden else (*lifted.hidden, last)
    found = []
    for node in nodes:
        derivative = Derivative(_node_value(lifted, node.name), point)
        found.append((node.name, _of(derivative, point, derivative.value, k, max_steps, seed)))
    return tuple(found)


@in_usual_modes
def tangential_cone_constant(network: Network, x: Tensor, radius: float | Tensor, *, points: int = 64, seed: int = 0) -> Tensor:
    """max over x' of ||F(x') - F(x) - F'(x)(x' - x)|| / ||F(x') - F(x)||, (batch,), for random x' in the ball about x.

    Below 1 for all pairs near a solution is what the theory of iterative methods asks for; below 1/2 for Landweber. This is
    measured, not proven: the largest over ``points`` random x', with ||x' - x|| spread evenly over (0, radius], bounds the
    constant of the ball from below. 0 for an affine network; inf where F(x') = F(x) although the derivative sees a change.
    radius: a number or (batch,).
    Kaltenbacher, Neubauer & Scherzer, Iterative Regularization Methods for Nonlinear Ill-Posed Problems, 2008.
    """
    lifted, point = network_at("tangential_cone_constant", network, "x", x)
    reach = per_sample_values("tangential_cone_constant", "radius", radius, point, positive=True)
    require_whole("tangential_cone_constant", "points", points, 1, "The default is 64.")
    operator = NetworkOutput(lifted)
    value, derivative = operator.linearise(point)
    generator = torch.Generator().manual_seed(seed)
    worst = torch.zeros_like(reach)
    for i in range(points):
        drawn = torch.randn(point.shape[1:], generator=generator, dtype=torch.float64).to(point)
        step = per_sample((i + 1) / points * reach, point) * (drawn / torch.linalg.vector_norm(drawn))
        with torch.no_grad():
            change = operator(point + step) - value
            error, size = norm(change - derivative(step)), norm(change)
        floor = 64 * torch.finfo(point.dtype).eps * norm(value)
        error = torch.where(error <= floor, torch.zeros_like(error), error)
        ratio = torch.where(error > 0, error / size, torch.zeros_like(error))
        worst = torch.maximum(worst, ratio)
    return worst


def _require_counts(who: str, k: int, max_steps: int) -> None:
    require_whole(who, "k", k, 1, "It counts singular values; the default is 8.")
    require_whole(who, "max_steps", max_steps, 1, "The default is 1024.")


def _node_value(network: LiftedNetwork, name: str) -> Callable[[Tensor], Tensor]:
    return lambda v: network.values(v, name)[name]


def _of(derivative: LinearMap, x: Tensor, y: Tensor, k: int, max_steps: int, seed: int) -> Conditioning:
    if not (x.numel() and y.numel()):
        return _nothing(x)
    found = bidiagonalise(derivative, x, y, max(max_steps, min(2 * k, x[0].numel(), y[0].numel())), seed)
    values, errors = found.singular_values()
    rounding = 10 * max(x[0].numel(), y[0].numel()) * torch.finfo(x.dtype).eps * values[:, 0]
    zero = values <= rounding[:, None]
    values = values.masked_fill(zero, 0.0)
    least = values.masked_fill(zero, inf).amin(1)
    invisible = x - found.visible(x, rounding) if found.complete else torch.full_like(x, nan)
    size = norm(x)
    return Conditioning(
        largest=values[:, :k],
        smallest=values.flip(1)[:, :k],
        error=torch.zeros_like(errors[:, :k]) if found.complete else errors[:, :k],
        rank=(~zero).sum(1),
        condition_number=torch.where(values[:, -1] > 0, values[:, 0] / values[:, -1], inf),
        noise_amplification=torch.where(torch.isfinite(least), 1 / least, inf),
        invisible=invisible,
        invisible_share=norm(invisible) / torch.where(size > 0, size, torch.ones_like(size)),
        complete=found.complete,
    )


def _nothing(x: Tensor) -> Conditioning:
    """For an empty batch."""
    none, rows = x.new_zeros(x.shape[0]), x.new_zeros((x.shape[0], 0))
    return Conditioning(rows, rows, rows, none.long(), none, none, torch.zeros_like(x), none, True)
