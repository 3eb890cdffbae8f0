"""``netinverse study stability`` and ``netinverse study rates``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

import netinverse as ni
from netinverse.cli.choices import (
    Alpha,
    AnyRegulariser,
    AsJson,
    Lower,
    Noise,
    Progress,
    Rule,
    Tolerance,
    Upper,
    box,
    regulariser_of,
    rule_of,
)
from netinverse.cli.reading import ARRAY, Model, parse_numbers, read_array, require_file
from netinverse.cli.telling import print_json, shown

Truth = Annotated[Path, typer.Argument(metavar="TRUTH", help=f"Inputs that are known, (samples, ...): {ARRAY}")]
Folder = Annotated[
    Path,
    typer.Option("--out", "-o", help="Folder of the results; an interrupted study goes on.", show_default=False, metavar="OUT"),
]
Levels = Annotated[str | None, typer.Option(help="Norms of the noise, rising, separated by commas.", metavar="NUMBERS")]
Shares = Annotated[bool, typer.Option("--relative/--absolute", help="Whether the levels are shares of the norm of the data.")]
Seeds = Annotated[int, typer.Option(help="Draws of noise at each level.", metavar="COUNT")]
Rules = Annotated[list[Rule] | None, typer.Option("--rule", help="How alpha is chosen; may be given more than once.")]
Kind = Annotated[Noise, typer.Option(help="The noise that is added.")]
Jobs = Annotated[int | None, typer.Option(help="Processes to work in; -1 for one on each core.", metavar="COUNT")]


def stability(
    model: Model,
    truth: Truth,
    out: Folder,
    noise_levels: Levels = "0.01,0.02,0.05,0.1,0.2",
    relative: Shares = True,
    seeds: Seeds = 1,
    rule: Rules = None,
    alpha: Alpha = None,
    regulariser: AnyRegulariser = None,
    lower: Lower = None,
    upper: Upper = None,
    kind: Kind = Noise.gaussian,
    tolerance: Tolerance = 1e-4,
    jobs: Jobs = None,
    progress: Progress = None,
    as_json: AsJson = False,
) -> None:
    settings = _settings(noise_levels, rule, alpha, regulariser, lower, upper)
    settings |= {"relative": relative, "seeds": seeds, "kind": kind.value, "tolerance": tolerance, "jobs": jobs}
    _told(_carried_out(ni.stability_study, model, truth, out, shown(progress), settings), out, as_json)


def rates(
    model: Model,
    truth: Truth,
    out: Folder,
    noise_levels: Levels = None,
    relative: Shares = True,
    seeds: Seeds = 1,
    rule: Rules = None,
    alpha: Alpha = None,
    regulariser: AnyRegulariser = None,
    lower: Lower = None,
    upper: Upper = None,
    kind: Kind = Noise.gaussian,
    tolerance: Tolerance = 1e-8,
    jobs: Jobs = None,
    progress: Progress = None,
    as_json: AsJson = False,
) -> None:
    settings = _settings(noise_levels, rule, alpha, regulariser, lower, upper)
    settings |= {"relative": relative, "seeds": seeds, "kind": kind.value, "tolerance": tolerance, "jobs": jobs}
    _told(_carried_out(ni.convergence_study, model, truth, out, shown(progress), settings), out, as_json)


def _settings(
    noise_levels: str | None,
    rules: list[Rule] | None,
    alpha: float | None,
    regulariser: Any,
    lower: float | None,
    upper: float | None,
) -> dict[str, Any]:
    """The options as arguments of a study; those that were left out keep the study's default."""
    chosen = rules or ([Rule.fixed] if alpha is not None else [])
    if alpha is not None and Rule.fixed not in chosen:
        raise ValueError("--alpha is the weight of --rule fixed, which is not among the rules. Add it, or drop --alpha.")
    given = {
        "noise_levels": None if noise_levels is None else parse_numbers("--noise-levels", noise_levels),
        "rule": {each.value: rule_of(each, alpha if each is Rule.fixed else None) for each in chosen} or None,
        "regulariser": regulariser_of(regulariser),
        "constraint": box(lower, upper),
    }
    return {name: value for name, value in given.items() if value is not None}


def _carried_out(
    run: Callable[..., ni.Study], model: Path, truth: Path, out: Path, progress: bool, settings: dict[str, Any]
) -> ni.Study:
    require_file(model, "MODEL")
    return run(model, read_array(truth, "TRUTH"), folder=out / "cells", progress=progress, **settings)


def _told(study: ni.Study, out: Path, as_json: bool) -> None:
    """Write the report, the picture and the table, and say what was found."""
    files = [out / "report.html", out / "study.png", out / "study.parquet"]
    study.report(files[0])
    study.plot().savefig(files[1], dpi=150)
    study.save(files[2])
    if as_json:
        print_json(
            {
                "files": [str(path) for path in files],
                "rows": len(study.table),
                "converged": int((study.table["status"] == "CONVERGED").sum()),
                "rates": {rule: asdict(study.rate("error", rule)) for rule in study.rules},
                "bounds": {"rows": study.bounded, "violated": len(study.violations)},
                "notes": list(study.notes),
            }
        )
        return
    typer.echo(study.summary())
    for path in files:
        typer.echo(path)
