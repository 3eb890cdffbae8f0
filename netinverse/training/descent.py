"""Block steps in the activations that never raise the energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from netinverse.lifting import LiftedEnergy
from netinverse.tensors import per_sample, total
from netinverse.training.losses import TorchLoss
from netinverse.training.problem import TrainingProblem

ROUNDING = 256
"""Units in the last place that an energy may rise by: it is a sum over all entries."""
HALVINGS = 40

Energies = Callable[[Sequence[Tensor]], Tensor]
"""us -> (batch,)."""


def energies(energy: LiftedEnergy, x: Tensor, us: Sequence[Tensor]) -> Energies:
    """us -> the energy of each sample; their mean for each where the loss gives one number for the batch and tells none apart."""
    loss = energy.fidelity
    if isinstance(loss, TorchLoss) and loss.joint(energy.affine_values(x, us)[energy.output]):
        return lambda us: energy.value(x, us).mean().expand(len(x))
    return lambda us: energy.value(x, us)


def rounding(values: Tensor) -> Tensor:
    """What energies may differ by without any meaning."""
    return ROUNDING * torch.finfo(values.dtype).eps * values.abs().clamp(min=1)


@torch.no_grad()
def descended(
    problem: TrainingProblem,
    energy: LiftedEnergy,
    x: Tensor,
    us: Sequence[Tensor],
    on_block: Callable[[int, Sequence[Tensor]], None] | None = None,
) -> tuple[Tensor, ...]:
    """u_l+ = prox_{t lambda_l (1/2||.||^2 + Psi_l)}(u_l - t grad_l E) for l = L, ..., 1; none raises the energy of a sample.

    t is safe by the norms of the layers where what follows has a 1-Lipschitz gradient in z: Bregman penalties, cross-entropy, the
    squared loss. Behind quadratic penalties, which kinks and distant u make as steep as they like, and functions of torch t is
    halved, sample by sample, from there until E falls by ||u+ - u||^2/(4 t).
    """
    steps, found, values = problem.safe_steps(), list(us), energies(energy, x, us)
    for block in reversed(range(len(found))):
        gradient = energy.gradient(block, x, found)
        if _is_safe(problem, energy, block):
            found[block] = energy.prox(block, found[block] - steps[block] * gradient, steps[block])
        else:
            found[block] = _searched(energy, values, found, block, gradient, steps[block])
        if on_block is not None:
            on_block(block, found)
    return tuple(found)


def _is_safe(problem: TrainingProblem, energy: LiftedEnergy, block: int) -> bool:
    into_loss, into_layers = energy.curvatures[block + 1]
    steep_loss = into_loss > 0 and isinstance(energy.fidelity, TorchLoss)
    steep_layers = into_layers > 0 and problem.penalty == "quadratic"
    return not (steep_loss or steep_layers)


def _searched(
    energy: LiftedEnergy, values: Energies, us: Sequence[Tensor], block: int, gradient: Tensor, longest: float
) -> Tensor:
    """The step in one activation with the first t of ``longest``, ``longest``/2, ... by which the energy falls; u if none is."""
    start, trial = values(us), list(us)
    found = u = us[block]
    step, searching = torch.full_like(start, longest), torch.ones_like(start, dtype=torch.bool)
    for _ in range(HALVINGS):
        trial[block] = energy.prox(block, u - per_sample(step, u) * gradient, step)
        enough = total((trial[block] - u).square()) / (4 * step)
        fits = searching & (values(trial) <= start - enough + rounding(start))
        found = torch.where(per_sample(fits, u).bool(), trial[block], found)
        searching = searching & ~fits
        if not bool(searching.any()):
            break
        step = torch.where(searching, step / 2, step)
    return found


class Falling:
    """Compares the energy of every sample after a block step with that before."""

    def __init__(self, energy: LiftedEnergy, x: Tensor, us: Sequence[Tensor]) -> None:
        self._energy, self._values = energy, energies(energy, x, us)
        self._before = self._values(us)

    def __call__(self, block: int, us: Sequence[Tensor]) -> None:
        value = self._values(us)
        rise, allowed = value - self._before, rounding(self._before)
        if bool((rise > allowed).any()):
            sample = int((rise - allowed).argmax())
            raise AssertionError(
                f"BlockDescent: the step in activation {self._energy.blocks[block].name!r} raised the energy of sample {sample} "
                f"from {float(self._before[sample]):.9g} to {float(value[sample]):.9g}, which a safe step never does: the bound "
                f"of a layer's norm, a proximal map or a gradient of the loss or of a penalty is wrong."
            )
        self._before = value
