"""Deterministic block-coordinate descent on the lifted energy of the whole data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netinverse.checks import require_whole
from netinverse.lifting import LiftedEnergy
from netinverse.training.algorithm import BatchResult, not_finite_loss
from netinverse.training.descent import Falling, descended
from netinverse.training.losses import labels_met
from netinverse.training.metric import BETAS, adam
from netinverse.training.problem import TrainingProblem, not_finite
from netinverse.training.process_group import batch_mark, same_marks
from netinverse.training.weight_step import energy_gradients, objective, weight_step

HEAVY_BALL = 0.7


@dataclass(frozen=True)
class BlockDescent:
    """u_l+ = prox_{t lambda_l (1/2||.||^2 + Psi_l)}(u_l - t grad_l E) for l = L, ..., 1 with safe t, then a step in theta, and
    again.

    The energy is that of all samples at once, and it falls in every block step: the steps in u by the norms of the layers, or by
    a search behind quadratic penalties and functions of torch, those in theta by a search. The activations are kept from sweep
    to sweep and begin where the auxiliaries say. An epoch is ``sweeps`` of them.

    acceleration: None; "nesterov": a sweep begins beyond the last one, by Nesterov's factors; "heavy-ball": 0.7 of the last
    change is added; "adam": the step in theta goes in Adam's direction. Where the accelerated sweep would raise the energy, a
    plain one is taken and the inertia begins anew, so that the energy falls in any case. debug: evaluates the energy after every
    block step, which multiplies the cost by the number of layers, and raises AssertionError where it rose.
    Bolte, Sabach & Teboulle, Math. Program. 146, 2014; restarts: O'Donoghue & Candes, Found. Comput. Math. 15, 2015.
    """

    acceleration: str | None = None
    sweeps: int = 10
    debug: bool = False
    batches = "whole"
    separable = False

    def __post_init__(self) -> None:
        if self.acceleration not in (None, "nesterov", "heavy-ball", "adam"):
            raise ValueError(
                f"BlockDescent: acceleration is {self.acceleration!r}, but must be None, 'nesterov', 'heavy-ball' or 'adam'."
            )
        require_whole("BlockDescent", "sweeps", self.sweeps, 1, "The default is 10.")

    def begin(self, problem: TrainingProblem) -> BlockDescentRun:
        if problem.statistics.uses:
            raise ValueError(
                f"BlockDescent: the network has batch normalisation in training mode (module "
                f"{problem.statistics.modules[0]!r}), whose moments depend on the activations that a block step moves, so that "
                f"no step is sure to lower the energy. Call eval() on these layers, which then keep their statistics, or take "
                f"ProximalSGD(), ProximalSAGA() or ImplicitSGD()."
            )
        return BlockDescentRun(problem, self)


Point = tuple[tuple[Tensor, ...], dict[str, Tensor]]
"""The activations, and copies of the parameters."""


class BlockDescentRun:
    """The activations and the parameters now and one sweep ago, the lengths of the steps in theta, and the inertia."""

    def __init__(self, problem: TrainingProblem, settings: BlockDescent) -> None:
        self._problem, self._settings = problem, settings
        self._us: tuple[Tensor, ...] = ()
        self._mark: Tensor | None = None
        self._before: Point | None = None
        self._lengths, self._momentum, self._count = {"plain": 1.0, "adam": 1.0}, 1.0, 0
        self._moments: dict[str, tuple[Tensor, Tensor]] = {}

    def batch(self, number: int, x: Tensor, targets: Tensor, progress: float) -> BatchResult:
        problem = self._problem
        energy = problem.energy(targets)
        self._require_the_same(batch_mark(x, targets))
        with torch.no_grad():
            if not self._us:
                self._us = _beginning(problem, energy, x, targets, progress)
            output = problem.network.values(x, energy.output)[energy.output]
            losses = energy.fidelity(output)
        if lost := not_finite(losses):
            raise not_finite_loss(lost)
        for _ in range(self._settings.sweeps):
            self._sweep(energy, x)
        return BatchResult(losses.double().sum(), labels_met(output, targets))

    def _require_the_same(self, mark: Tensor) -> None:
        if self._mark is not None and not bool(same_marks(mark, self._mark, mark.dtype)):
            raise ValueError(
                "BlockDescent: the loader gives other samples, or another order of them, than in the epoch before, but the "
                "activations of each sample are kept from epoch to epoch, by its place. Pass a list of batches, or a DataLoader "
                "with a sampler of torch and without random transforms."
            )
        self._mark = mark

    def _sweep(self, energy: LiftedEnergy, x: Tensor) -> None:
        """The accelerated sweep where it lowers the objective, a plain one otherwise."""
        now = (self._us, _copied(self._problem))
        value = objective(self._problem, energy, x, self._us, None)
        accelerated = self._accelerated(energy, x, now)
        if not bool(accelerated < value):
            _put(self._problem, now[1])
            self._us, self._momentum, self._before = now[0], 1.0, None
            self._plain(energy, x)
        self._before = now

    def _plain(self, energy: LiftedEnergy, x: Tensor) -> Tensor:
        """One sweep: the activations from the last to the first, then the parameters."""
        self._us = self._descended(energy, x)
        self._lengths["plain"], value = weight_step(self._problem, energy, x, self._us, self._lengths["plain"])
        return value

    def _descended(self, energy: LiftedEnergy, x: Tensor) -> tuple[Tensor, ...]:
        if not self._settings.debug:
            return descended(self._problem, energy, x, self._us)
        return descended(self._problem, energy, x, self._us, on_block=Falling(energy, x, self._us))

    def _accelerated(self, energy: LiftedEnergy, x: Tensor, now: Point) -> Tensor:
        """The objective after the sweep of the chosen kind; infinite where there is nothing to accelerate yet."""
        nothing = torch.tensor(torch.inf)
        if self._settings.acceleration == "adam":
            self._us = self._descended(energy, x)
            directions = self._adam(energy_gradients(energy, x, self._us, self._problem.parameters))
            length = self._lengths["adam"]
            self._lengths["adam"], value = weight_step(self._problem, energy, x, self._us, length, directions=directions)
            return value
        if self._settings.acceleration is None or self._before is None:
            return nothing
        if self._settings.acceleration == "nesterov":
            following = 0.5 * (1 + (1 + 4 * self._momentum**2) ** 0.5)
            self._extrapolate(energy, now, self._before, (self._momentum - 1) / following)
            self._momentum = following
            return self._plain(energy, x)
        self._plain(energy, x)
        self._extrapolate(energy, (self._us, _copied(self._problem)), self._before, HEAVY_BALL, now)
        return objective(self._problem, energy, x, self._us, None)

    def _extrapolate(self, energy: LiftedEnergy, at: Point, before: Point, share: float, last: Point | None = None) -> None:
        """at + share * (last - before), activations moved back into their domains; last: by default ``at``."""
        last = at if last is None else last
        self._us = tuple(
            _inside(node.potential, u + share * (v - w))
            for node, u, v, w in zip(energy.blocks, at[0], last[0], before[0], strict=True)
        )
        _put(self._problem, {name: p + share * (last[1][name] - before[1][name]) for name, p in at[1].items()})

    def _adam(self, gradients: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        first, second = BETAS
        self._count += 1
        out = {}
        for name, g in gradients.items():
            m, v = self._moments.get(name, (torch.zeros_like(g), torch.zeros_like(g)))
            m, v = torch.lerp(g, m, first), torch.lerp(g.square(), v, second)
            self._moments[name] = (m, v)
            out[name] = adam(m, v, self._count, 1e-3, self._problem.regulariser)
        return out

    def state(self) -> dict[str, Tensor]:
        numbers = torch.tensor([*self._lengths.values(), self._momentum, self._count], dtype=torch.float64)
        kept = {"numbers": numbers} | {f"u/{k}": u for k, u in enumerate(self._us)}
        if self._mark is not None:
            kept["mark"] = self._mark
        if self._before is not None:
            kept |= {f"u-before/{k}": u for k, u in enumerate(self._before[0])}
            kept |= {f"before/{name}": p for name, p in self._before[1].items()}
        for name, (m, v) in self._moments.items():
            kept |= {f"m/{name}": m, f"v/{name}": v}
        return kept

    def restore(self, state: Mapping[str, Tensor]) -> None:
        plain, adam, self._momentum, count = state["numbers"].tolist()
        self._lengths = {"plain": plain, "adam": adam}
        self._count, self._mark = int(count), state.get("mark")

        def part(kind: str) -> dict[str, Tensor]:
            return {key.partition("/")[2]: value for key, value in state.items() if key.startswith(f"{kind}/")}

        self._us = tuple(part("u")[str(k)] for k in range(len(part("u"))))
        if before := part("before"):
            self._before = (tuple(part("u-before")[str(k)] for k in range(len(self._us))), before)
        self._moments = {name: (m, part("v")[name]) for name, m in part("m").items()}


def _beginning(problem: TrainingProblem, energy: LiftedEnergy, x: Tensor, targets: Tensor, progress: float) -> tuple[Tensor, ...]:
    begin = problem.auxiliaries.at(progress, energy.blocks, targets, problem.network.nodes[-1].shape[0])
    us: dict[str, Tensor] = {}
    for block, node in enumerate(energy.blocks):
        given = [us.get(each.name, torch.zeros(len(x), *each.shape, dtype=x.dtype, device=x.device)) for each in energy.blocks]
        zs = energy.affine_values(x, given)
        us[node.name] = begin(block, node(*(zs[name] for name in node.inputs)))
    return tuple(us.values())


def _inside(potential: Any, u: Tensor) -> Tensor:
    projected: Tensor = potential.project(u)
    return projected


def _copied(problem: TrainingProblem) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in problem.parameters.items()}


def _put(problem: TrainingProblem, values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, p in problem.parameters.items():
            p.copy_(values[name])
