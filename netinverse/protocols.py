"""The contracts of netinverse. Every object of the library is one of these; read this file first.

All tensors carry the batch first. A quantity that may differ between samples has shape ``(batch,)``.
"""

from __future__ import annotations

from typing import Protocol, TypeVar, runtime_checkable

from torch import Tensor

Step = float | Tensor
"""A step size: one number for all samples, or one per sample, shape ``(batch,)``."""


@runtime_checkable
class ProximalFunction(Protocol):
    """A proper convex lower semicontinuous function f on ``(batch, ...)``."""

    def __call__(self, x: Tensor) -> Tensor:
        """f(x), shape ``(batch,)``; ``inf`` outside the domain."""
        ...

    def prox(self, x: Tensor, step: Step = 1.0) -> Tensor:
        """argmin_v step * f(v) + 1/2||v - x||^2."""
        ...

    def conjugate(self, p: Tensor) -> Tensor:
        """f*(p) = sup_x <p, x> - f(x), shape ``(batch,)``; ``inf`` outside the domain of f*."""
        ...


@runtime_checkable
class Potential(ProximalFunction, Protocol):
    """A function Psi whose proximal map at step 1 is an activation, sigma = prox_Psi.

    Phi = (1/2||.||^2 + Psi)^* is its smooth partner: grad Phi = sigma.
    """

    def smooth_conjugate(self, z: Tensor) -> Tensor:
        """Phi(z) = sup_u <u, z> - 1/2||u||^2 - Psi(u), shape ``(batch,)``."""
        ...

    def project(self, x: Tensor) -> Tensor:
        """The point of the closure of dom Psi nearest to x."""
        ...

    def flat_ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the greatest value of sigma, entry by entry, if a whole half-line is mapped to it; else -inf and inf."""
        ...

    def penalty(self, u: Tensor, z: Tensor) -> Tensor:
        """B(u, z) = 1/2||u||^2 + Psi(u) + Phi(z) - <u, z>, shape ``(batch,)``, without cancellation."""
        ...


@runtime_checkable
class Plateaued(Protocol):
    """A potential whose activation is constant on an interval, at a value inside its range."""

    @property
    def plateau(self) -> tuple[float, float]:
        """The value, and half the length of the interval."""
        ...


@runtime_checkable
class LinearMap(Protocol):
    """A linear map K and its adjoint, sample by sample."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def adjoint(self, y: Tensor) -> Tensor: ...


@runtime_checkable
class Operator(Protocol):
    """A forward map F that can be linearised."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def linearise(self, x: Tensor) -> tuple[Tensor, LinearMap]:
        """F(x) and its derivative F'(x)."""
        ...


class SolverState(Protocol):
    """What a solver carries from step to step. Frozen; every tensor has the batch first."""

    @property
    def x(self) -> Tensor:
        """The iterate, ``(batch, *input_shape)``."""
        ...

    @property
    def objective(self) -> Tensor:
        """The objective at ``x``, ``(batch,)``."""
        ...

    @property
    def optimality(self) -> Tensor:
        """An upper bound of what is left to gain, in units of the objective, ``(batch,)``."""
        ...

    @property
    def stalled(self) -> Tensor:
        """True where no step of this solver can lower the objective any further, ``(batch,)``."""
        ...


S = TypeVar("S", bound=SolverState)
P_contra = TypeVar("P_contra", contravariant=True)


class Solver(Protocol[P_contra, S]):
    """Configuration only (a frozen dataclass). The loop is ``netinverse.solvers.iterate.solve``."""

    def init(self, problem: P_contra, x: Tensor) -> S: ...

    def step(self, problem: P_contra, state: S) -> S: ...
