"""Block descent on the lifted energy: sweeps backward over the activations, then over the input, with inertia."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netinverse.lifting import INPUT
from netinverse.problems import LiftedProblem
from netinverse.solvers.convex_gap import convex_gap
from netinverse.tensors import choose, per_sample


@dataclass(frozen=True)
class BlockDescentState:
    """``us``: the activations as variables. ``residual``: of the forward pass from x. ``dual``: of the regulariser near x.

    ``before`` and ``momentum`` carry the inertia from step to step: x and us one sweep ago, and Nesterov's t (1: none).
    """

    x: Tensor
    us: tuple[Tensor, ...]
    objective: Tensor
    residual: Tensor
    optimality: Tensor
    stalled: Tensor
    dual: Tensor
    before: tuple[Tensor, ...]
    momentum: Tensor


@dataclass(frozen=True)
class _Sweep:
    """Where one sweep led; ``gap``: by how much its inexact proximal map may have missed, in units of the objective."""

    x: Tensor
    us: tuple[Tensor, ...]
    objective: Tensor
    dual: Tensor
    gap: Tensor


@dataclass(frozen=True)
class BlockDescent:
    """u_l+ = prox_{t lambda_l (1/2||.||^2 + Psi_l)}(u_l - t grad_l E), l = L, ..., 1; x+ = prox_{t(alpha R + C)}(x - t grad_x E).

    Gauss-Seidel proximal gradient steps with t = 1/L of each block. ``inertia``: a sweep starts from x_k + b (x_k - x_{k-1}), b
    Nesterov's, and likewise u; where the objective would rise, the sample stays and its next sweep is a plain one, so that the
    objective never rises. One step is ``sweeps_per_step`` of them.

    The optimality is the fall of the objective in one plain sweep from the state, which is at least the sum over the blocks of

        <grad_l E, w - v> + h(w) - h(v) - ||v - w||^2 / (2t) >= ||v - w||^2 / (2t),    v the block step from w,

    with the gap of the inexact proximal map added. It is zero only at a stationary point, and local. Where the energy is known
    to be jointly convex (``problem.modulus`` > 0) it is the gap of ``netinverse.solvers.convex_gap`` instead, which is global.
    Smooth nodes have no safe step, and the problem must have none.

    Bolte, Sabach & Teboulle, Math. Program. 146, 2014; inertia and restart: O'Donoghue & Candes, Found. Comput. Math. 15, 2015.
    """

    tolerance: float = 1e-6
    sweeps_per_step: int = 25
    inertia: bool = True

    def init(self, problem: LiftedProblem, x: Tensor, warm: BlockDescentState | None = None) -> BlockDescentState:
        """Start at x with the activations of the forward pass, or at the state ``warm`` of another alpha.

        Raises ValueError for a network with smooth nodes.
        """
        network = problem.energy.network
        if not network.is_exactly_lifted:
            names = ", ".join(node.name for node in network.nodes if node.kind == "smooth")
            raise ValueError(
                f"BlockDescent: the network has smooth nodes ({names}), whose block steps have no safe size. Use the reduced "
                f"formulation (Gauss-Newton), or replace these activations by proximal ones."
            )
        x = problem.feasible(x)
        with torch.no_grad():
            us = problem.energy.activations(x) if warm is None else warm.us
            transform = problem.inverse.regulariser.transform(tuple(x.shape[1:]))
            dual = torch.zeros_like(transform(x)) if warm is None else warm.dual
        objective = problem.objective(x, us)
        return BlockDescentState(
            x=x,
            us=us,
            objective=objective,
            residual=problem.residual(x),
            optimality=torch.full_like(objective, torch.inf),
            stalled=torch.zeros_like(objective, dtype=torch.bool),
            dual=dual,
            before=(x, *us),
            momentum=torch.ones_like(objective),
        )

    def step(self, problem: LiftedProblem, state: BlockDescentState) -> BlockDescentState:
        started = state.objective
        for _ in range(self.sweeps_per_step):
            state = self._advance(problem, state)
        plain = self._sweep(problem, state.x, state.us, state.dual)
        fall = state.objective - plain.objective
        return replace(
            state,
            # A NaN that no sweep can pass is the loop's to report, which keeps the state before it.
            objective=torch.where(torch.isnan(plain.objective), torch.nan, state.objective),
            residual=problem.residual(state.x),
            optimality=self._left(problem, state) if problem.modulus > 0 else fall.clamp(min=0) + plain.gap,
            stalled=(state.objective >= started) & (fall <= 0),
        )

    def _left(self, problem: LiftedProblem, state: BlockDescentState) -> Tensor:
        with torch.no_grad():
            return convex_gap(problem, state.x, state.us, state.dual, self.tolerance / 4)

    def _advance(self, problem: LiftedProblem, state: BlockDescentState) -> BlockDescentState:
        """One sweep from the extrapolated point, taken by the samples whose objective it does not raise."""
        now = (state.x, *state.us)
        following = (1 + torch.sqrt(1 + 4 * state.momentum.square())) / 2 if self.inertia else state.momentum
        share = (state.momentum - 1) / following
        point = tuple(a + per_sample(share, a) * (a - b) for a, b in zip(now, state.before, strict=True))
        found = self._sweep(problem, point[0], point[1:], state.dual)
        moved = replace(state, x=found.x, us=found.us, objective=found.objective, dual=found.dual, before=now, momentum=following)
        stayed = replace(state, before=now, momentum=torch.ones_like(following))
        return choose(found.objective <= state.objective, moved, stayed)

    def _sweep(self, problem: LiftedProblem, x: Tensor, us: tuple[Tensor, ...], dual: Tensor) -> _Sweep:
        energy, blocks, inverse = problem.energy, list(us), problem.inverse
        with torch.no_grad():
            for block in reversed(range(len(blocks))):
                t, gradient = problem.step_size(block), energy.gradient(block, x, blocks)
                blocks[block] = energy.prox(block, blocks[block] - per_sample(t, gradient) * gradient, t)
            t = problem.step_size(INPUT)
            target = x - per_sample(t, x) * energy.gradient(INPUT, x, blocks)
            found = inverse.regulariser.prox(target, t * inverse.alpha, inverse.constraint, self.tolerance / 4, warm=dual)
        moved = tuple(blocks)
        return _Sweep(found.x, moved, problem.objective(found.x, moved), found.dual, found.gap / t)
