"""The source condition: is a subgradient of the regulariser at the truth in the range of the adjoint derivative?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.checks import require_number, require_whole
from netinverse.diagnostics.arguments import Network, network_at
from netinverse.diagnostics.source_search import Pair, Range, nearest, shortest, solved
from netinverse.modes import in_usual_modes
from netinverse.networks import LiftedNetwork, PreActivation
from netinverse.operators.linear import norm_bound
from netinverse.priors import require_composite
from netinverse.protocols import LinearMap, Potential
from netinverse.prox.scalar import Separable
from netinverse.prox.subdifferential import snap_to_zero, subdifferential_of
from netinverse.regularisers import Regulariser
from netinverse.tensors import choose, norm, scatter, select


@dataclass(frozen=True)
class SourceElement:
    """v with K^T v in dR(truth), or the nearest that there is. Everything per sample and in float64.

    v: (batch, *output_shape), zero on rows that may carry none of it. norm: ||v||, (batch,). residual: ||K^T v - p||, relative to
    ||p|| (absolute where p = 0), (batch,). holds: residual <= tolerance. subgradient: p in dR(truth), (batch, *input_shape), the
    one that v belongs to. rows: which rows may carry v, (batch, *output_shape). verdict: a sentence for each sample.
    """

    v: Tensor
    norm: Tensor
    residual: Tensor
    holds: Tensor
    subgradient: Tensor
    rows: Tensor
    tolerance: float

    @property
    def verdict(self) -> tuple[str, ...]:
        rows, carrying = self.rows[0].numel() if len(self.rows) else 0, self.rows.flatten(1).sum(1).tolist()
        return tuple(
            _verdict(*sample, rows, self.tolerance)
            for sample in zip(self.holds.tolist(), self.norm.tolist(), self.residual.tolist(), carrying, strict=True)
        )


@in_usual_modes
def source_element(
    network: Network, truth: Tensor, regulariser: Regulariser, *, tolerance: float = 1e-6, max_iterations: int = 5_000
) -> SourceElement:
    """v with K^T v in dR(truth), K the derivative of the last pre-activation at the truth, on the rows that may carry it.

    Then the error of the regularised solution is bounded by a multiple of ||v|| and the noise level: see ``error_bound``. R(x) =
    g(A x), and K^T v = A^T p is solved for v and p in dg(A truth) together, so that the free values of p, where A truth is zero,
    help. Where it can be solved, v is the shortest that was found (within ``max_iterations``).

    Rows: a row on which the last activation is constant near the truth (a ReLU with z <= 0, a saturated hard tanh, a shrunk
    entry) may not carry v. Data say nothing about it, and the bound would hold a term that does not vanish with the noise. At z
    = 0 a ReLU is counted as constant. At a kink of an earlier activation K is the derivative that torch takes.

    Shapes: truth (batch, *input_shape). Entries of A truth below 1e-10 of the largest count as zero.
    Raises ValueError or TypeError for a truth that does not fit the network or the regulariser. A condition that fails is no
    error: ``holds`` is False, and the verdict says by how much.
    Benning, Bubba, Ratti & Riccio, Trust your source, IMA J. Appl. Math. 2024.
    """
    require_number("source_element", "tolerance", tolerance, "The default is 1e-6.")
    require_whole("source_element", "max_iterations", max_iterations, 1, "The default is 5000.")
    require_composite("source_element", regulariser)
    lifted, x = network_at("source_element", network, "truth", truth)
    regulariser.check_shape(tuple(lifted.input_shape))
    with torch.no_grad():
        sets, rows, start = _range(lifted, regulariser, x)
        found = nearest(sets, start, tolerance / 2, max_iterations)
        exact = solved(sets, found.p, tolerance / 2, max_iterations)
        found = choose(sets.distance(exact) < sets.distance(found), exact, found)
        index = (sets.distance(found) <= tolerance).nonzero().flatten()
        if len(index):
            part, _, _ = _range(lifted, regulariser, x[index])
            longer = select(found, index)
            shorter = shortest(part, longer, tolerance / 2, max_iterations)
            better = (part.distance(shorter) <= tolerance) & (norm(shorter.v) < norm(longer.v))
            found = scatter(found, index, choose(better, shorter, longer))
        p = sets.transform.adjoint(found.p)
        size = norm(p)
        residual = norm(sets.defect(found)) / torch.where(size > 0, size, torch.ones_like(size))
    return SourceElement(found.v, norm(found.v), residual, residual <= tolerance, p, rows, tolerance)


@dataclass(frozen=True)
class Rows:
    """K on some rows, the others zero: ``mask`` is 1 or 0 in the shape of K's values."""

    map: LinearMap
    mask: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return self.mask * self.map(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.map.adjoint(self.mask * y)


def responsive_rows(potential: Potential, z: Tensor) -> Tensor:
    """Where the activation is not constant near z, in the shape of z; everywhere if it does not act entry by entry."""
    if not isinstance(potential, Separable):
        return torch.ones_like(z, dtype=torch.bool)
    return potential.slope(z) > 0


def _range(network: LiftedNetwork, regulariser: Regulariser, x: Tensor) -> tuple[Range, Tensor, Pair]:
    """The two sets at x, the rows that may carry v, and the pair (0, the shortest subgradient of g)."""
    shape = tuple(x.shape[1:])
    z, derivative = PreActivation(network).linearise(x)
    rows = responsive_rows(network.output_potential, z)
    forward = Rows(derivative, rows.to(z.dtype))
    transform = regulariser.transform(shape)
    image = snap_to_zero(transform(x))
    function = subdifferential_of("source_element", regulariser.function)
    least = function.nearest_subgradient(image, torch.zeros_like(image))
    size = norm(transform.adjoint(least))
    sets = Range(
        forward=forward,
        forward_norm=norm_bound(forward, x),
        transform=transform,
        transform_norm=regulariser.transform_norm(shape),
        project=lambda p: function.nearest_subgradient(image, p),
        size=torch.where(size > 0, size, torch.ones_like(size)),
    )
    return sets, rows, Pair(torch.zeros_like(z), least)


def _verdict(holds: bool, length: float, residual: float, carrying: int, rows: int, tolerance: float) -> str:
    place = f"{carrying} of {rows} rows may carry it"
    if holds:
        return f"the source condition holds: ||v|| = {length:.4g} with a relative residual of {residual:.1e}; {place}"
    return (
        f"no source element found: the nearest leaves a relative residual of {residual:.2g}, above {tolerance:g}; {place}. "
        f"No rate in the noise level is guaranteed for this truth"
    )
