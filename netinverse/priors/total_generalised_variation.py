"""Total generalised variation of second order: total variation that affine images do not pay."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netinverse.checks import require_floating, require_positive, require_shape
from netinverse.operators.generalised_differences import GeneralisedDifferences
from netinverse.operators.linear import LeadingChannels
from netinverse.problems import CompositeProblem, Term
from netinverse.protocols import ProximalFunction, Step
from netinverse.prox import Box, GroupL21, NonNegative, Scaled, SquaredNorm, Translated
from netinverse.prox.total_variation import ProxResult
from netinverse.regularisers import Regulariser
from netinverse.regularisers.regulariser import by_duality, require_image
from netinverse.solvers.iterate import relative_optimality, solve
from netinverse.solvers.primal_dual import PrimalDual
from netinverse.tensors import norm, per_sample

VALUE_TOLERANCE = 1e-4
"""The relative accuracy of R(x), which is a minimum itself."""
MOST_STEPS = 2000


@dataclass(frozen=True)
class TotalGeneralisedVariation:
    """R(x) = min over fields w of sum over pixels of ||D x - w||_2 + weight ||E w||_2, E w the symmetrised differences of w.

    D as in TotalVariation. R vanishes exactly at affine x, where total variation vanishes at constant x alone: ramps stay ramps,
    and edges stay edges. weight: that of the second order; 2 is usual. Channels are added up, each on its own.
    Inputs: (channels, length), (channels, height, width) or (channels, depth, height, width).

    ``invert`` minimises over x and w together, stacked along the channels; ``result.latent`` holds both.
    Bredies, Kunisch & Pock, SIAM J. Imaging Sci. 3, 2010.
    """

    weight: float = 2.0
    name = "total generalised variation"

    def __post_init__(self) -> None:
        require_positive("TotalGeneralisedVariation", "weight", self.weight, "without a price on E w, w = D x makes R vanish")

    def __call__(self, x: Tensor) -> Tensor:
        """R(x), (batch,), too large by a share of ``VALUE_TOLERANCE`` at most: a minimum over w, found by a solver."""
        x = require_floating("TotalGeneralisedVariation", "x", x)
        self.check_shape(tuple(x.shape[1:]))
        fixed = GeneralisedDifferences(self.weight)(self._joint(x))
        fields = GeneralisedDifferences(self.weight, image_scale=0.0)
        size = torch.full_like(norm(x), fields.norm_bound(tuple(x.shape[1:])))
        problem = CompositeProblem((Term(GroupL21(axis=1), fields, size, fixed),), None)
        found = _solved(problem, self._joint(torch.zeros_like(x)), torch.ones_like(size), VALUE_TOLERANCE)
        return found[1]

    def input_shape(self, start: Tensor | None) -> tuple[int, ...] | None:
        return None if start is None else tuple(start.shape[1:])

    def check_shape(self, shape: tuple[int, ...]) -> None:
        require_image("TotalGeneralisedVariation", shape, "differences")

    def prox(
        self,
        x: Tensor,
        step: Step = 1.0,
        constraint: ProximalFunction | None = None,
        tolerance: float = 1e-4,
        warm: Tensor | None = None,
    ) -> ProxResult:
        """argmin over v in C of step R(v) + 1/2||v - x||^2, with a duality gap of at most tolerance times that minimum.

        warm: the dual of another such map, on the range of ``GeneralisedDifferences``.
        """
        shape = tuple(x.shape[1:])
        self.check_shape(shape)
        steps = torch.as_tensor(step, dtype=x.dtype, device=x.device).expand(len(x))
        penalty, joint = JointVariation(self.weight), self._joint(x)
        size = torch.full_like(steps, penalty.transform_norm(shape))
        data = Term(Translated(SquaredNorm(), x), LeadingChannels(x.shape[1], joint.shape[1]), torch.ones_like(steps))
        second = Term(Scaled(penalty.function, steps), penalty.transform(shape), size)
        problem = CompositeProblem((data, second), self.constraint_on_unknowns(constraint, shape))
        duals = None if warm is None else (torch.zeros_like(x), per_sample(steps, warm) * warm)
        found, _, gap, iterations = _solved(problem, joint, torch.where(steps > 0, steps, 1.0), tolerance, duals)
        dual = found[1][1] / per_sample(torch.where(steps > 0, steps, 1.0), found[1][1])
        return ProxResult(found[0][:, : x.shape[1]], dual, gap, iterations)

    def synthesis(self, shape: tuple[int, ...]) -> nn.Module:
        return _Image(shape[0])

    def unknowns(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """x and the fields: len(shape) times the channels."""
        return (shape[0] * len(shape), *shape[1:])

    def penalty(self, shape: tuple[int, ...]) -> Regulariser:
        return JointVariation(self.weight)

    def constraint_on_unknowns(self, constraint: ProximalFunction | None, shape: tuple[int, ...]) -> ProximalFunction | None:
        """The same bounds of x, none of w."""
        if constraint is None:
            return None
        if not isinstance(constraint, Box | NonNegative):
            raise ValueError(
                f"invert: constraint is a {type(constraint).__name__}, but with TotalGeneralisedVariation inputs can only be "
                f"bounded entry by entry. Use ni.Box or ni.NonNegative, or another regulariser."
            )
        box = constraint if isinstance(constraint, Box) else Box(0.0, torch.inf)
        lower, upper = (torch.as_tensor(end, dtype=torch.float64).expand(shape) for end in (box.lower, box.upper))
        free = lower.new_full((shape[0] * (len(shape) - 1), *shape[1:]), torch.inf)
        return Box(torch.cat([lower, -free]), torch.cat([upper, free]))

    def start(self, given: Tensor | None, batch: int, shape: tuple[int, ...], seed: int) -> Tensor | None:
        """The given input, with the field zero."""
        if given is None:
            return None
        return self._joint(require_shape("invert", "start", given, (batch, *shape), "one input for each sample of the data"))

    def subgradient(self, slope: Tensor, shape: tuple[int, ...]) -> Tensor:
        return slope[:, : shape[0]]

    def _joint(self, x: Tensor) -> Tensor:
        return torch.cat([x, x.new_zeros((len(x), x.shape[1] * (x.ndim - 2), *x.shape[2:]))], 1)


@dataclass(frozen=True)
class JointVariation:
    """S(x, w) = sum over pixels of ||D x - w||_2 + weight ||E w||_2, x and w stacked along the channels."""

    weight: float
    name = "total generalised variation"

    @property
    def function(self) -> ProximalFunction:
        return GroupL21(axis=1)

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(self.transform(tuple(x.shape[1:]))(x))

    def check_shape(self, shape: tuple[int, ...]) -> None:
        require_image("TotalGeneralisedVariation", shape, "differences")

    def transform(self, shape: tuple[int, ...]) -> GeneralisedDifferences:
        return GeneralisedDifferences(self.weight)

    def transform_norm(self, shape: tuple[int, ...]) -> float:
        return GeneralisedDifferences(self.weight).norm_bound(shape)

    def prox(
        self,
        x: Tensor,
        step: Step = 1.0,
        constraint: ProximalFunction | None = None,
        tolerance: float = 1e-8,
        warm: Tensor | None = None,
    ) -> ProxResult:
        return by_duality(self, x, step, constraint, tolerance, warm)


class _Image(nn.Module):
    """The image, without the fields."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, joint: Tensor) -> Tensor:
        return joint[:, : self.channels]


def _solved(
    problem: CompositeProblem,
    start: Tensor,
    weight: Tensor,
    tolerance: float,
    duals: tuple[Tensor, ...] | None = None,
) -> tuple[tuple[Tensor, tuple[Tensor, ...]], Tensor, Tensor, Tensor]:
    """((x, duals), objective, gap, iterations) of the convex problem."""
    method = PrimalDual()
    begun = method.init(problem, start, duals, weight)
    state = solve(method, problem, begun, stop=relative_optimality(tolerance), max_steps=MOST_STEPS).state
    return (state.best.x, state.best.duals), state.objective, state.optimality, state.iterations.long()
