"""How fast the reconstruction converges to the truth as the noise vanishes."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from netinverse.diagnostics.arguments import Network
from netinverse.fidelities import Fidelity
from netinverse.methods import Method
from netinverse.modes import in_usual_modes
from netinverse.parameter_choice import APriori, DiscrepancyPrinciple
from netinverse.protocols import ProximalFunction
from netinverse.regularisers import Regulariser
from netinverse.studies.stability import Rules, carried_out, planned
from netinverse.studies.study import Study


@in_usual_modes
def convergence_study(
    network: Network,
    truth: Tensor,
    *,
    noise_levels: Sequence[float] | Tensor | None = None,
    relative: bool = True,
    regulariser: Regulariser | None = None,
    constraint: ProximalFunction | None = None,
    rule: Rules | None = None,
    method: Method | None = None,
    fidelity: Fidelity | None = None,
    seeds: int | Sequence[int] = 1,
    kind: str = "gaussian",
    tolerance: float = 1e-8,
    max_steps: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    batch_size: int = 64,
    progress: bool = False,
) -> Study:
    """``stability_study`` over decades of noise, solved accurately, for rates: ``study.rate("bregman_distance")``.

    noise_levels: by default nine from 1e-5 to 1e-1, relative to ||y||. rule: by default ``APriori()``, whose rate theory gives,
    and ``DiscrepancyPrinciple()`` with no floor, so that it follows the noise to its end. The default tolerance is for one affine
    map, where a duality gap of that size is quickly reached; the error shown is worth no more than gap/alpha.
    """
    plan, notes = planned(
        "convergence_study",
        network,
        truth,
        noise_levels=torch.logspace(-5, -1, 9, dtype=torch.float64) if noise_levels is None else noise_levels,
        relative=relative,
        regulariser=regulariser,
        constraint=constraint,
        rule=[APriori(), DiscrepancyPrinciple(floor=0.0)] if rule is None else rule,
        method=method,
        fidelity=fidelity,
        seeds=seeds,
        kind=kind,
        tolerance=tolerance,
        max_steps=max_steps,
        batch_size=batch_size,
    )
    return carried_out("convergence_study", plan, notes, folder, jobs, progress)
