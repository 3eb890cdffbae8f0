"""How the error of a reconstruction follows the noise of its data."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from netinverse.arguments import check_constraint, check_objects, check_settings
from netinverse.checks import first_samples, require_flag, require_path, require_whole
from netinverse.diagnostics.arguments import Network, network_at
from netinverse.diagnostics.kinks import on_a_kink
from netinverse.diagnostics.source_condition import SourceElement, source_element
from netinverse.fidelities import Fidelity
from netinverse.fingerprint import fingerprint
from netinverse.inversion import default_regulariser
from netinverse.methods import Method, Variational
from netinverse.modes import in_usual_modes
from netinverse.networks import LiftedNetwork
from netinverse.noise.adding import KINDS
from netinverse.parameter_choice import DiscrepancyPrinciple, ParameterRule
from netinverse.protocols import ProximalFunction
from netinverse.regularisers import Regulariser
from netinverse.studies.folder import Folder
from netinverse.studies.plan import Plan
from netinverse.studies.study import Study
from netinverse.studies.sweep import require_jobs, sweep
from netinverse.studies.tables import read_table, write_table
from netinverse.tensors import norm
from netinverse.version import __version__

Rules = ParameterRule | Sequence[ParameterRule] | Mapping[str, ParameterRule]


@in_usual_modes
def stability_study(
    network: Network,
    truth: Tensor,
    *,
    noise_levels: Sequence[float] | Tensor,
    relative: bool = False,
    regulariser: Regulariser | None = None,
    constraint: ProximalFunction | None = None,
    rule: Rules | None = None,
    method: Method | None = None,
    fidelity: Fidelity | None = None,
    seeds: int | Sequence[int] = 1,
    kind: str = "gaussian",
    tolerance: float = 1e-4,
    max_steps: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    batch_size: int = 64,
    progress: bool = False,
) -> Study:
    """Invert the outputs of ``truth`` at every noise level and seed, with every rule; measure each against the truth.

    Shapes: truth (samples, *input_shape). noise_levels: ||y^delta - y||_2, rising, the same for all samples; with ``relative``
    shares of ||y||. seeds: how many draws of noise, or which; at noise level 0, and for the worst noise, there is nothing
    to draw, and each sample has one row. kind: of noise, as in ``add_noise``. rule: one, several, or several by name.

    Everything is float64. Where the source condition makes sense (``source_element``), each row has a bound beside its
    measurement. folder: finished cells are kept there, and an interrupted study goes on; a folder of another configuration is
    refused. jobs: processes, see ``netinverse.studies.sweep``; with ``joblib.parallel_config(backend="dask")`` the workers of a
    cluster. batch_size: rows inverted at once. None of the three changes a result but by rounding.

    Raises ValueError or TypeError for what cannot be studied, before anything is computed.
    """
    plan, notes = planned(
        "stability_study",
        network,
        truth,
        noise_levels=noise_levels,
        relative=relative,
        regulariser=regulariser,
        constraint=constraint,
        rule=DiscrepancyPrinciple() if rule is None else rule,
        method=method,
        fidelity=fidelity,
        seeds=seeds,
        kind=kind,
        tolerance=tolerance,
        max_steps=max_steps,
        batch_size=batch_size,
    )
    return carried_out("stability_study", plan, notes, folder, jobs, progress)


def planned(
    who: str,
    network: Network,
    truth: Tensor,
    *,
    noise_levels: Sequence[float] | Tensor,
    relative: bool,
    regulariser: Regulariser | None,
    constraint: ProximalFunction | None,
    rule: Rules,
    method: Method | None,
    fidelity: Fidelity | None,
    seeds: int | Sequence[int],
    kind: str,
    tolerance: float,
    max_steps: int | None,
    batch_size: int,
) -> tuple[Plan, tuple[str, ...]]:
    """The plan, checked, and what is to be known of it."""
    lifted, x = network_at(who, network, "truth", truth)
    if not len(x):
        raise ValueError(
            f"{who}: truth holds no sample, so there is nothing to study. Pass at least one input, (1, *input_shape)."
        )
    levels = _levels(who, noise_levels)
    rules = _rules(who, rule)
    for each in rules.values():
        check_objects(regulariser, each, method, fidelity)
    check_settings(tolerance, max_steps, 0)
    require_whole(who, "batch_size", batch_size, 1, "The default is 64.")
    require_flag(who, "relative", relative, "whether noise_levels are shares of the norm of the data")
    if kind not in KINDS:
        raise ValueError(
            f"{who}: kind is {kind!r}, which is not one of {', '.join(map(repr, KINDS))}. The default is 'gaussian'."
        )
    check_constraint(constraint, x)
    _require_inside(who, x, constraint)
    regulariser = default_regulariser(lifted.input_shape) if regulariser is None else regulariser
    regulariser.check_shape(tuple(lifted.input_shape))
    with torch.no_grad():
        clean = lifted(x)
    noise = levels[:, None] * (norm(clean) if relative else torch.ones_like(norm(clean)))
    source, notes = _source(lifted, x, regulariser, method)
    kinked = on_a_kink(lifted, x)
    if bool(kinked.any()):
        notes += (
            f"the network is not differentiable at the truth of {first_samples(kinked)}: its source element, and noise of kind "
            f"'worst-case', are those of one derivative of several",
        )
    return Plan(
        network=lifted,
        truth=x,
        clean=clean,
        noise=noise,
        kind=kind,
        seeds=_seeds(who, seeds),
        rules=rules,
        regulariser=regulariser,
        constraint=constraint,
        method=method,
        fidelity=fidelity,
        source=source,
        tolerance=tolerance,
        max_steps=max_steps,
        batch_size=batch_size,
    ), notes


def carried_out(
    who: str, plan: Plan, notes: tuple[str, ...], folder: str | os.PathLike[str] | None, jobs: int | None, progress: bool
) -> Study:
    """The cells of the plan, computed or found in the folder, as one study."""
    import pandas as pd

    require_jobs(who, jobs)
    settings = _settings(who, plan)
    kept: Folder[pd.DataFrame] | None = None
    if folder is not None:
        kept = Folder(require_path(who, "folder", folder), ".parquet", write_table, lambda path: read_table(path)[0])
        kept.claim(who, settings)
    tables = sweep(plan.work, len(plan.cells), folder=kept, jobs=jobs, progress=progress, title=who.replace("_", " "))
    return Study(pd.concat(tables, ignore_index=True) if tables else plan.work(0), settings, notes)


def _levels(who: str, noise_levels: Sequence[float] | Tensor) -> Tensor:
    try:
        levels = torch.as_tensor(noise_levels, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{who}: noise_levels is {noise_levels!r}, but must be numbers, such as [0.01, 0.05, 0.1].") from error
    if levels.ndim != 1 or not len(levels):
        raise ValueError(
            f"{who}: noise_levels has shape {tuple(levels.shape)}, but must be at least one number in a row, such as [0.01, 0.1]."
        )
    if not bool((torch.isfinite(levels) & (levels >= 0)).all()):
        raise ValueError(f"{who}: noise_levels is {levels.tolist()}, but each must be zero or positive, and finite.")
    if not bool((levels.diff() > 0).all()):
        raise ValueError(
            f"{who}: noise_levels is {levels.tolist()}, but must rise, each only once, since a level is a row of "
            f"every table. Pass sorted(set(noise_levels))."
        )
    return levels


def _seeds(who: str, seeds: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(seeds, int):
        return tuple(range(require_whole(who, "seeds", seeds, 1, "One draw of noise is the default.")))
    found = tuple(require_whole(who, "seeds", seed, 0, "Each is a whole number, such as seeds=[0, 1, 2].") for seed in seeds)
    if not found or len(set(found)) < len(found):
        raise ValueError(f"{who}: seeds is {list(found)}, but must be at least one number, each only once.")
    return found


def _rules(who: str, rule: Rules) -> dict[str, ParameterRule]:
    """By name: the name of the class, or the whole setting where two have the same class."""
    if isinstance(rule, Mapping):
        rules = dict(rule)
    else:
        given: Any = rule  # a text is a sequence too, of letters
        several = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
        classes = [type(each).__name__ for each in several]
        rules = {repr(each) if classes.count(name) > 1 else name: each for each, name in zip(several, classes, strict=True)}
        if len(rules) < len(several):
            raise ValueError(
                f"{who}: rule holds the same rule twice ({', '.join(classes)}). Name them: rule={{'a': ..., 'b': ...}}."
            )
    if not rules:
        raise ValueError(f"{who}: rule is empty, so no weight can be chosen. The default is DiscrepancyPrinciple().")
    return rules


def _require_inside(who: str, truth: Tensor, constraint: ProximalFunction | None) -> None:
    if constraint is None:
        return
    outside = ~torch.isfinite(constraint(truth))
    if bool(outside.any()):
        away = norm(constraint.prox(truth) - truth)[outside].max()
        raise ValueError(
            f"{who}: truth lies outside the constraint in {first_samples(outside)}, by up to {float(away):.3g}, so no "
            f"reconstruction can come near it. Pass truth = constraint.prox(truth), or a constraint that holds for it."
        )


def _source(
    network: LiftedNetwork, truth: Tensor, regulariser: Regulariser, method: Method | None
) -> tuple[SourceElement | None, tuple[str, ...]]:
    """Source elements for bounds of the variational solution; None, with the reason, where there are none."""
    if method is not None and not isinstance(method, Variational):
        return None, (f"no bounds: they are for the minimiser of Variational(), and the method is {type(method).__name__}",)
    try:
        found = source_element(network, truth, regulariser)
    except (TypeError, ValueError) as error:
        return None, (f"no bounds: {error}",)
    fails = ~found.holds
    if not bool(fails.any()):
        return found, ()
    return found, (f"the source condition fails for {first_samples(fails)}: no rate is guaranteed there",)


def _settings(who: str, plan: Plan) -> dict[str, object]:
    """What decides the table, for the report and for the check of a folder."""
    return {
        "study": who,
        "netinverse": __version__,
        "network": fingerprint(plan.network),
        "truth": fingerprint(plan.truth),
        "samples": len(plan.truth),
        "input_shape": list(plan.truth.shape[1:]),
        "noise_levels": fingerprint(plan.noise),
        "mean_noise": plan.noise.mean(1).tolist() if plan.noise.shape[1] else [],
        "kind": plan.kind,
        "seeds": list(plan.seeds),
        "rules": {name: _described(rule) for name, rule in plan.rules.items()},
        "regulariser": _described(plan.regulariser),
        "constraint": "none" if plan.constraint is None else _described(plan.constraint),
        "method": _described(Variational() if plan.method is None else plan.method),
        "fidelity": "default" if plan.fidelity is None else _described(plan.fidelity),
        "objects": fingerprint(tuple(plan.rules.values()), plan.regulariser, plan.constraint, plan.method, plan.fidelity),
        "tolerance": plan.tolerance,
        "max_steps": plan.max_steps,
        "batch_size": plan.batch_size,
    }


def _described(value: object) -> str:
    """As it is written, without the addresses of functions, which another process has elsewhere."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
