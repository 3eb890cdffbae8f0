"""The problems that solvers solve: frozen data, no algorithms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from netinverse.fidelities import DataTerm, SquaredTerm
from netinverse.lifting import LiftedEnergy, downstream, input_modulus, plus_layers
from netinverse.networks import LiftedNetwork, NetworkOutput, PreActivation
from netinverse.protocols import LinearMap, Operator, ProximalFunction
from netinverse.prox import Box, Scaled, Simplex
from netinverse.regularisers import PerSampleRegulariser, Regulariser
from netinverse.tensors import astype, norm

HEAVIER = 3.0
"""How much heavier a layer is by default than what follows it."""


@dataclass(frozen=True)
class Term:
    """x -> function(map x + offset), with an upper bound of ||map|| per sample."""

    function: ProximalFunction
    map: LinearMap
    norm: Tensor
    offset: Tensor | None = None

    def image(self, x: Tensor) -> Tensor:
        """map x, without the offset."""
        return self.map(x)

    def shifted(self, image: Tensor) -> Tensor:
        return image if self.offset is None else image + self.offset


@dataclass(frozen=True)
class CompositeProblem:
    """min over x in C of sum_i f_i(K_i x + c_i), with f_i convex and C the set of a constraint (None: the whole space).

    scale: (batch,) or one number, how large the entries of x are to an order of magnitude. Where C is unbounded, a duality gap
    looks twice as far as the larger of it and the entries of x.
    """

    terms: tuple[Term, ...]
    constraint: ProximalFunction | None
    scale: Tensor | float = 1.0

    def feasible(self, x: Tensor) -> Tensor:
        return x if self.constraint is None else self.constraint.prox(x)


@dataclass(frozen=True)
class InverseProblem:
    """min over x in C of G(z(x)) + alpha R(x): z the network (or its last pre-activation), G the data term.

    alpha: (batch,). ``affine`` says that z is affine, so that the problem is convex. ``residual`` is ||F(x) - y^delta||_2 with
    y^delta the data projected onto the range of the last activation.
    """

    variable: Operator
    output: Callable[[Tensor], Tensor]
    term: DataTerm
    data: Tensor
    regulariser: Regulariser
    constraint: ProximalFunction | None
    alpha: Tensor
    affine: bool

    def feasible(self, x: Tensor) -> Tensor:
        return x if self.constraint is None else self.constraint.prox(x)

    @property
    def bounded(self) -> bool:
        """True where the constraint set is bounded."""
        if isinstance(self.constraint, Box):
            ends = (self.constraint.lower, self.constraint.upper)
            return all(bool(torch.isfinite(torch.as_tensor(end)).all()) for end in ends)
        return isinstance(self.constraint, Simplex)

    def objective(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.term(self.variable(x)) + self.alpha * self.regulariser(x)

    def objective_at_zero(self, like: Tensor) -> Tensor:
        """How large objectives are, whatever the least is: that of zero, moved into C."""
        return self.objective(self.feasible(torch.zeros_like(like)))

    def residual(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return norm(self.output(x) - self.data)

    def penalty_term(self, shape: tuple[int, ...]) -> Term:
        """alpha R as a term of a composite problem."""
        norm_ = torch.full_like(self.alpha, self.regulariser.transform_norm(shape))
        return Term(self._weighted, self.regulariser.transform(shape), norm_)

    @cached_property
    def _weighted(self) -> Scaled:
        """alpha g, made once: its check of alpha makes the host wait for the device, which no step should."""
        return Scaled(self.regulariser.function, self.alpha)

    def at(self, alpha: Tensor) -> InverseProblem:
        return replace(self, alpha=alpha)

    def on(self, network: LiftedNetwork) -> InverseProblem:
        """The problem with ``network``, its own in another dtype, in that dtype."""
        assert isinstance(self.variable, PreActivation | NetworkOutput)
        dtype = network.dtype
        return replace(
            self,
            variable=replace(self.variable, network=network),
            output=NetworkOutput(network),
            term=astype(self.term, dtype),
            data=self.data.to(dtype),
            regulariser=astype(self.regulariser, dtype),
            constraint=astype(self.constraint, dtype),
            alpha=self.alpha.to(dtype),
        )

    def select(self, index: Tensor) -> InverseProblem:
        regulariser = self.regulariser.select(index) if isinstance(self.regulariser, PerSampleRegulariser) else self.regulariser
        return replace(
            self, term=self.term.select(index), data=self.data[index], alpha=self.alpha[index], regulariser=regulariser
        )


@dataclass(frozen=True)
class LiftedProblem:
    """min over x in C and u of E(x, u) + alpha R(x), E the lifted energy with the data term of the ``inverse`` problem.

    curvatures: ``LiftedEnergy.curvatures``, which depend on the network alone and outlive ``select``. modulus: m > 0 where the
    energy without lambda/2 sum||u_l||^2 and m/2||x||^2 is still jointly convex; 0 where nothing is known.
    """

    inverse: InverseProblem
    energy: LiftedEnergy
    curvatures: tuple[tuple[float, float], ...]
    modulus: float = 0.0

    @classmethod
    def lift(
        cls, inverse: InverseProblem, network: LiftedNetwork, weights: float | Sequence[float] | None = None
    ) -> LiftedProblem:
        """The lifted form of ``inverse`` with the layer weights lambda_l: ``weights``, or one for each block.

        Light layers let the activations drift from the forward pass, whose residual then cannot come down to the noise; heavy
        ones leave the energy as steep as the reduced problem, and shorten the steps. By default lambda_l is 1 where that makes
        the energy jointly convex (``netinverse.lifting.convexity``), elsewhere ``HEAVIER`` times the curvature of what follows
        u_l.

        Raises ValueError where the fidelity takes the output of the last activation: the energy is a function of what enters it.
        """
        if network.nodes[-1].kind == "proximal" and not isinstance(inverse.variable, PreActivation):
            raise ValueError(
                f"LiftedProblem: the network ends in the activation {network.nodes[-1].name}, but the fidelity takes its output; "
                f"the lifted energy keeps that activation convex and takes what enters it. Use fidelity=BregmanFidelity(), or "
                f"the reduced formulation."
            )
        layers = plus_layers(LiftedEnergy(network, inverse.term)) if isinstance(inverse.term, SquaredTerm) else None
        if weights is None:
            weights = 1.0 if layers else tuple(HEAVIER * steep for steep in downstream(network))
        energy = LiftedEnergy(network, inverse.term, weights)
        same = {energy.weight(block) for block in range(len(energy.blocks))}
        modulus = input_modulus(layers, float(same.pop())) if layers and len(same) == 1 else 0.0
        return cls(inverse, energy, energy.curvatures, modulus)

    def step_size(self, block: int) -> Tensor:
        """1/(c ||A_out||^2 + sum over the children of lambda ||A||^2), c the curvature of the data term, (batch,)."""
        fidelity, layers = self.curvatures[block + 1]
        curvature = fidelity * self.inverse.term.curvature + self.energy.stiffness * layers
        return 1.0 / curvature if fidelity + layers > 0 else torch.ones_like(curvature)

    def feasible(self, x: Tensor) -> Tensor:
        return self.inverse.feasible(x)

    def objective(self, x: Tensor, us: tuple[Tensor, ...]) -> Tensor:
        """E(x, u) + alpha R(x), (batch,)."""
        with torch.no_grad():
            return self.energy.value(x, us) + self.inverse.alpha * self.inverse.regulariser(x)

    def objective_at_zero(self, like: Tensor) -> Tensor:
        """That with the activations of the forward pass, where the energy is the data term."""
        return self.inverse.objective_at_zero(like)

    def residual(self, x: Tensor) -> Tensor:
        """That of the forward pass from x, whatever the activations of the energy are."""
        return self.inverse.residual(x)

    def at(self, alpha: Tensor) -> LiftedProblem:
        return replace(self, inverse=self.inverse.at(alpha))

    def stiffened(self, factor: Tensor) -> LiftedProblem:
        """The same with every layer weight times ``factor``, (batch,). Nothing is known of its convexity."""
        return replace(self, energy=replace(self.energy, stiffness=factor), modulus=0.0)

    def select(self, index: Tensor) -> LiftedProblem:
        inverse, stiffness = self.inverse.select(index), self.energy.stiffness
        stiffness = stiffness[index] if isinstance(stiffness, Tensor) else stiffness
        return replace(self, inverse=inverse, energy=replace(self.energy, fidelity=inverse.term, stiffness=stiffness))
