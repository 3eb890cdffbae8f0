"""A denoiser as a regulariser: regularisation by denoising."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from netinverse.checks import require_object, require_positive
from netinverse.operators.linear import Identity
from netinverse.protocols import ProximalFunction, Step
from netinverse.prox import SquaredNorm, Translated
from netinverse.prox.total_variation import ProxResult
from netinverse.regularisers.entrywise import Entrywise
from netinverse.tensors import Derivative, inner, norm, per_sample

POWER_STEPS = 30
ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class DenoiserPrior:
    """R(x) = 1/2 <x, x - D(x)>, D a denoiser; what ``invert`` finds solves grad fidelity(x) + alpha (x - D(x)) = 0.

    denoiser: any callable that keeps the shape (batch, *input_shape), a torch module in evaluation mode in particular; modules
    get their own dtype. sigma: passed to it as a second argument, where it takes the noise level to remove.

    Step by step the fidelity + alpha/2 ||x - D(x_k)||^2 is minimised, and D taken again. x - D(x) is the gradient of R only
    where D is homogeneous of degree 1 and has a symmetric Jacobian; elsewhere nothing is minimised, and the solution is an
    equilibrium between data and denoiser. The steps lead there where the fidelity is convex and D is averaged:
    ``averagedness`` measures that, the certificate of the result is of kind "none", and its message says what was measured.
    Taken by ni.Variational() alone: the other methods need a convex regulariser.
    Romano, Elad & Milanfar, SIAM J. Imaging Sci. 10, 2017; Reehorst & Schniter, IEEE Trans. Comput. Imaging 5, 2019.
    """

    denoiser: Callable[..., Tensor]
    sigma: float | None = None

    def __post_init__(self) -> None:
        require_object(
            "DenoiserPrior",
            "denoiser",
            self.denoiser,
            ("__call__",),
            "Pass a function or a torch module that maps a batch of inputs to the denoised batch.",
        )
        if isinstance(self.denoiser, nn.Module) and self.denoiser.training:
            raise ValueError(
                "DenoiserPrior: denoiser is in training mode, in which a module may answer differently at every call. Call "
                "denoiser.eval() first."
            )
        if self.sigma is not None:
            require_positive("DenoiserPrior", "sigma", self.sigma, "it is the noise level to remove; leave it out for none")

    @property
    def name(self) -> str:
        return f"denoiser {type(self.denoiser).__name__}" if isinstance(self.denoiser, nn.Module) else "denoiser"

    @property
    def function(self) -> ProximalFunction:
        """That of the convex model, 1/2||.||^2, for what asks how long a subgradient is."""
        return SquaredNorm()

    def denoised(self, x: Tensor) -> Tensor:
        """D(x), in the dtype of x."""
        own = next(self.denoiser.parameters(), x).dtype if isinstance(self.denoiser, nn.Module) else x.dtype
        given = x.to(own)
        out = self.denoiser(given) if self.sigma is None else self.denoiser(given, self.sigma)
        if not isinstance(out, Tensor) or out.shape != x.shape:
            got = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else f"a {type(out).__name__}"
            raise ValueError(
                f"DenoiserPrior: the denoiser returns {got} for inputs of shape {tuple(x.shape)}, but must keep the shape of its "
                f"input. Wrap it in a module that does."
            )
        return out.to(x.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return 0.5 * inner(x, x - self.denoised(x))

    def check_shape(self, shape: tuple[int, ...]) -> None:
        with torch.no_grad():
            self.denoised(torch.zeros(2, *shape, dtype=torch.float64))

    def transform(self, shape: tuple[int, ...]) -> Identity:
        return Identity()

    def transform_norm(self, shape: tuple[int, ...]) -> float:
        return 1.0

    def prox(
        self,
        x: Tensor,
        step: Step = 1.0,
        constraint: ProximalFunction | None = None,
        tolerance: float = 1e-8,
        warm: Tensor | None = None,
    ) -> ProxResult:
        """That of the convex model at x: (x + step D(x))/(1 + step), moved into the constraint."""
        return self.model_at(x).prox(x, step, constraint)

    def model_at(self, x: Tensor) -> AnchoredTikhonov:
        """1/2||. - D(x)||^2: convex, and with the gradient x - D(x) at x."""
        with torch.no_grad():
            return AnchoredTikhonov(self.denoised(x), self.name)

    def averagedness(self, x: Tensor, seed: int = 0) -> Averagedness:
        """What is measured of D around x, sample by sample: see ``Averagedness``.

        ||D'(x)|| by power iteration on D'(x)^T D'(x), and the averagedness that the directions on the
        way need, and those of the same iteration for Id - D'(x). They are lower bounds at one point: a denoiser that passes is
        not thereby averaged.
        """
        derivative = Derivative(self.denoised, x)
        drawn = torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(x).expand_as(x)
        zero, theta, size = torch.zeros_like(norm(x)), torch.zeros_like(norm(x)), torch.zeros_like(norm(x))
        for residual in (False, True):
            v = _unit(drawn)
            for _ in range(POWER_STEPS):
                image = derivative(v)
                left = v - image
                size = torch.maximum(size, norm(image))
                # theta-averaged: ||D v||^2 <= 1 - (1/theta - 1) ||v - D v||^2.
                ratio = (1 - norm(image).square()) / norm(left).square().clamp(min=torch.finfo(x.dtype).tiny)
                needed = torch.where(ratio > -1, 1 / (1 + ratio), torch.inf)
                theta = torch.maximum(theta, torch.where(norm(left) > ROUNDING, needed, zero))
                v = _unit(left - derivative.adjoint(left) if residual else derivative.adjoint(image))
        return Averagedness(theta, size)


@dataclass(frozen=True)
class Averagedness:
    """D = (1 - theta) Id + theta N with N nonexpansive needs at least this ``theta``, (batch,), and ||D'(x)|| is ``norm``.

    theta below 1: nothing measured speaks against an averaged denoiser, 1/2 and below: nor against a proximal map. Above 1 the
    denoiser is expansive, and its iteration may run away.
    """

    theta: Tensor
    norm: Tensor

    @property
    def holds(self) -> Tensor:
        return (self.theta < 1) & (self.norm <= 1 + ROUNDING)

    @property
    def verdict(self) -> str:
        greatest, size = (float(t.max()) if len(t) else 0.0 for t in (self.theta, self.norm))
        if bool(self.holds.all()):
            return (
                f"Around the answers the denoiser is averaged as far as measured: theta >= {greatest:.3g}, ||D'|| = {size:.3g}."
            )
        count = int((~self.holds).sum())
        return (
            f"Around {count} of {len(self.theta)} answer(s) the denoiser is not averaged, ||D'|| up to {size:.3g}: nothing says "
            f"that its iteration leads anywhere."
        )


@dataclass(frozen=True, eq=False)
class AnchoredTikhonov(Entrywise):
    """1/2||x - anchor||^2, anchor (batch, *shape)."""

    anchor: Tensor
    name: str = "distance to an anchor"

    @property
    def function(self) -> ProximalFunction:
        return Translated(SquaredNorm(), self.anchor)

    def select(self, index: Tensor) -> Self:
        return type(self)(self.anchor[index], self.name)


def _unit(v: Tensor) -> Tensor:
    return v / per_sample(norm(v).clamp(min=torch.finfo(v.dtype).tiny), v)
