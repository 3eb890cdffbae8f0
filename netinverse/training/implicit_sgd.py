"""Implicit stochastic gradients: each batch's energy is minimised near the last parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.checks import require_number, require_whole
from netinverse.training.algorithm import BatchResult, gradients
from netinverse.training.descent import descended
from netinverse.training.problem import TrainingProblem
from netinverse.training.process_group import batch_mark, same_marks
from netinverse.training.weight_step import Anchor, weight_step


@dataclass(frozen=True)
class ImplicitSGD:
    """(theta, u)+ = argmin mean of E over the batch + 1/(2 tau) ||theta - theta_k||^2, by ``sweeps`` sweeps over u and theta.

    The activations begin where the auxiliaries say, for each batch anew; with ``warm`` a batch that comes again begins where its
    steps ended in the epoch before, as in the paper: activations are kept for all samples, and the loader must not shuffle. Every
    block step lowers the objective of the batch, with steps that are found, not chosen. tau, ``proximity``, is the one number of
    the method: how far one batch may lead. Where batch normalisation trains, the steps in u hold its moments at those of the
    forward pass, so that layers are affine; those in theta lower the objective with the moments that they bring about.
    Wang & Benning, Lifted Bregman Training of Neural Networks, JMLR 24(232), 2023.
    """

    proximity: float = 0.1
    sweeps: int = 3
    warm: bool = False
    separable = False

    @property
    def batches(self) -> str:
        return "fixed" if self.warm else "any"

    def __post_init__(self) -> None:
        require_number("ImplicitSGD", "proximity", self.proximity, "The default is 0.1.")
        require_whole("ImplicitSGD", "sweeps", self.sweeps, 1, "The default is 3.")

    def begin(self, problem: TrainingProblem) -> ImplicitSGDRun:
        return ImplicitSGDRun(problem, self)


class ImplicitSGDRun:
    """The length of the step in theta, which the next search begins at; where warm, by batch, its mark and its activations."""

    def __init__(self, problem: TrainingProblem, settings: ImplicitSGD) -> None:
        self._problem, self._settings = problem, settings
        self._length = 1.0
        self._kept: dict[int, tuple[Tensor, ...]] = {}

    def batch(self, number: int, x: Tensor, targets: Tensor, progress: float) -> BatchResult:
        problem, held = self._problem, self._problem.held(x)
        first = gradients(problem, x, targets, progress)
        energy, held_energy = problem.energy(targets), held.energy(targets)
        mark = batch_mark(x, targets)
        kept = self._kept_of(number, mark)
        us = first.us if kept is None else descended(held, held_energy, x, kept)
        anchor = Anchor({name: p.detach().clone() for name, p in problem.parameters.items()}, self._settings.proximity)
        for sweep in range(self._settings.sweeps):
            us = us if sweep == 0 else descended(held, held_energy, x, us)
            self._length, _ = weight_step(problem, energy, x, us, self._length, anchor=anchor)
        if self._settings.warm:
            self._kept[number] = (mark, *us)
        return BatchResult(first.loss, first.hits)

    def _kept_of(self, number: int, mark: Tensor) -> tuple[Tensor, ...] | None:
        """The activations of this batch after its last steps; None for one that is new."""
        if number not in self._kept:
            return None
        known, *us = self._kept[number]
        if not bool(same_marks(mark, known, mark.dtype)):
            raise ValueError(
                f"ImplicitSGD: batch {number} has other samples, or another order of them, than in the epoch before, but "
                f"warm=True keeps the activations of each sample by its place. Pass the same batches in every epoch, or leave "
                f"warm out."
            )
        return tuple(us)

    def state(self) -> dict[str, Tensor]:
        kept = {f"kept/{number}/{k}": part for number, parts in self._kept.items() for k, part in enumerate(parts)}
        return {"length": torch.tensor(self._length, dtype=torch.float64), **kept}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._length = float(state["length"])
        self._kept = {}
        names = [name.split("/") for name in state if name.startswith("kept/")]
        for number, k in sorted((int(name[1]), int(name[2])) for name in names):
            self._kept[number] = (*self._kept.get(number, ()), state[f"kept/{number}/{k}"])
