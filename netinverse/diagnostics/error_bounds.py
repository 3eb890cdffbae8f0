"""Bounds of the error of a regularised solution, from a source element."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from netinverse.checks import per_sample_values, require_finite, require_floating, require_shape
from netinverse.diagnostics.arguments import Network, network_at
from netinverse.diagnostics.source_condition import SourceElement
from netinverse.fidelities import BregmanFidelity, default_fidelity, project_data
from netinverse.modes import in_usual_modes
from netinverse.networks import LiftedNetwork
from netinverse.noise import noise_left_after_projection
from netinverse.priors import require_composite
from netinverse.protocols import Potential
from netinverse.prox import NonNegative
from netinverse.regularisers import Regulariser
from netinverse.tensors import inner, norm, per_sample

EXACT = 1e-6
"""The residual of a source element that the bounds leave out; above it they are none."""
_BOUNDED = {
    "symmetric": "the symmetric Bregman distance <p_x - p, x - truth> of the minimiser x, and with it both one-sided ones",
    "conditional": (
        "the symmetric Bregman distance of the minimiser for the network linearised at the truth; for the network itself where "
        "its linearisation error at the solution does not point along the source element. Pass x= for a bound without condition"
    ),
    "a posteriori": "the Bregman distance R(x) - R(truth) - <p, x - truth> of the x given, without further conditions",
}


@dataclass(frozen=True)
class ErrorBound:
    """Bounds of the distance to the truth in units of R, (batch,) each; inf where a bound does not apply.

    value: the one to use; kind: "symmetric", "conditional" or "a posteriori". bounds: what it bounds, in words.
    tight: [B(u, z) - 1/4||u - sigma(z)||^2]/alpha, u = f - alpha v, f the data, z the last pre-activation at the truth.
    symmetric: B(u, z)/alpha, at most twice ``tight``. published: [B(f + alpha v, z) + B(f - alpha v, z)]/alpha, never smaller.
    rectified: the published one written out for a ReLU, 2 B(f, z)/alpha + alpha ||v||^2.
    """

    value: Tensor
    kind: str
    tight: Tensor
    symmetric: Tensor
    published: Tensor
    rectified: Tensor

    @property
    def bounds(self) -> str:
        return _BOUNDED[self.kind]


@in_usual_modes
def error_bound(
    network: Network,
    truth: Tensor,
    data: Tensor,
    alpha: float | Tensor,
    regulariser: Regulariser,
    source: SourceElement,
    *,
    noise_level: float | Tensor | None = None,
    x: Tensor | None = None,
) -> ErrorBound:
    """A bound of the Bregman distance between the truth and x_alpha in argmin B(f, z(x)) + alpha R(x), over any convex
    constraint that the truth meets.

    One affine map before the last activation ("symmetric"): with K^T v = p in dR(truth),

        <p_alpha - p, x_alpha - truth> <= [B(u, z) - 1/4||u - sigma(z)||^2] / alpha,    u = f - alpha v, z = z(truth).

    Proof: the left side times alpha is at most <s - u, z - z_alpha>, s = sigma(z_alpha). Phi is 1-smooth: <s, z - z_alpha> <=
    Phi(z) - Phi(z_alpha) - 1/2||sigma(z) - s||^2. h = 1/2||.||^2 + Psi is 1-strongly convex: <u, z_alpha> - Phi(z_alpha) <= h(u)
    - 1/2||u - s||^2. The two squares are at least 1/4||u - sigma(z)||^2. Attained by linear least squares. It is inf where u
    leaves the domain, and where the source condition fails: with a residual of v above 1e-6, whatever ``tolerance`` it was sought
    with, <K^T v - p, x_alpha - truth> cannot be left out. It is part of the bound for a given x.

    Any network and any x ("a posteriori", with ``x`` given): with e = max(objective(x) - objective(truth), 0),

        R(x) - R(truth) - <p, x - truth> <= [B(f - alpha v, z(truth)) + e]/alpha + <v, z(x) - z(truth)> - <p, x - truth>,

    by the same two inequalities; the last two terms are the linearisation error of z along v, and the residual of v. Without
    ``x``, a deeper network gets the bound of its linearisation at the truth ("conditional"). At a minimiser of the lifted energy
    the first layer is a network of one affine map: its bound is that of this network, with f = u_1 and alpha/lambda_1.

    Shapes: truth (batch, *input_shape), data (batch, *output_shape), alpha a number or (batch,). Data are projected onto the
    domain of the last activation, and treated for their ``noise_level`` as ``invert`` treats them.
    Published form: Wang & Benning, Front. Appl. Math. Stat. 9, 2023; with alpha = sqrt(2) d/||v||, d^2 = B(f, z), it is
    2 sqrt(2) ||v|| d for a ReLU where alpha |v| <= f.
    """
    require_composite("error_bound", regulariser)
    if not isinstance(source, SourceElement):
        raise TypeError(
            f"error_bound: source is a {type(source).__name__}, but must be a SourceElement. Make it by "
            f"ni.source_element(network, truth, regulariser)."
        )
    lifted, exact = network_at("error_bound", network, "truth", truth)
    f = _treated(lifted, exact, data, noise_level)
    weight = per_sample_values("error_bound", "alpha", alpha, f, positive=True)
    require_shape("error_bound", "source.v", source.v, tuple(f.shape), "the shape of the data; make it with the same network")
    with torch.no_grad():
        z, shift = lifted.pre_activation(exact), per_sample(weight, f) * source.v
        penalty = lifted.output_potential.penalty
        symmetric = penalty(f - shift, z) / weight
        tight = symmetric - norm(f - shift - lifted.output_potential.prox(z)).square() / (4 * weight)
        published = symmetric + penalty(f + shift, z) / weight
        rectified = _rectified(lifted.output_potential, f, z, weight, source.v)
        if x is not None:
            value = symmetric + _correction(lifted, exact, f, weight, regulariser, source, z, _given(x, exact))
            return ErrorBound(value, "a posteriori", tight, symmetric, published, rectified)
    fails = ~(source.holds & (source.residual <= EXACT))
    bounds = [b.masked_fill(fails, inf) for b in (tight, symmetric, published, rectified)]
    return ErrorBound(bounds[0], "symmetric" if _is_affine(lifted) else "conditional", *bounds)


def _treated(network: LiftedNetwork, truth: Tensor, data: Tensor, noise_level: float | Tensor | None) -> Tensor:
    """The data that the fidelity takes, in float64."""
    with torch.no_grad():
        expected = tuple(network(truth).shape)
    data = require_floating("error_bound", "data", data)
    require_shape("error_bound", "data", data, expected, "what the network returns")
    observed = require_finite("error_bound", "data", data).detach().double()
    projected, _ = project_data(network, observed)
    if noise_level is None:
        return projected
    level = per_sample_values("error_bound", "noise_level", noise_level, observed)
    left = noise_left_after_projection(observed, projected, level)
    return default_fidelity(network).treat(network, projected, left)


def _given(x: Tensor, truth: Tensor) -> Tensor:
    x = require_finite("error_bound", "x", require_floating("error_bound", "x", x))
    require_shape("error_bound", "x", x, tuple(truth.shape), "the shape of truth, with which it is compared")
    return x.detach().double()


def _rectified(potential: Potential, f: Tensor, z: Tensor, alpha: Tensor, v: Tensor) -> Tensor:
    """2 B(f, z)/alpha + alpha ||v||^2 for a ReLU where alpha |v| <= f in every row; inf elsewhere."""
    if not isinstance(potential, NonNegative):
        return torch.full_like(alpha, inf)
    inside = (per_sample(alpha, v) * v.abs() <= f).flatten(1).all(1)
    return torch.where(inside, 2 * potential.penalty(f, z) / alpha + alpha * norm(v).square(), inf)


def _correction(
    network: LiftedNetwork,
    truth: Tensor,
    f: Tensor,
    alpha: Tensor,
    regulariser: Regulariser,
    source: SourceElement,
    z: Tensor,
    x: Tensor,
) -> Tensor:
    """[objective(x) - objective(truth)]_+/alpha + <v, z(x) - z(truth)> - <p, x - truth>."""
    term = BregmanFidelity().at(network, f)
    at_x = network.pre_activation(x)
    excess = (term(at_x) - term(z)) / alpha + regulariser(x) - regulariser(truth)
    return excess.clamp(min=0) + inner(source.v, at_x - z) - inner(source.subgradient, x - truth)


def _is_affine(network: LiftedNetwork) -> bool:
    """True where the last activation takes an affine function of the input."""
    return all(node.kind == "affine" for node in network.nodes[:-1]) and network.nodes[-1].kind != "smooth"
