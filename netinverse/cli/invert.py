"""``netinverse invert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import netinverse as ni
from netinverse.cli.choices import (
    FIDELITIES,
    METHODS,
    Alpha,
    AnyRegulariser,
    AsJson,
    Fidelity,
    Lower,
    Method,
    Progress,
    Rule,
    Tolerance,
    Upper,
    box,
    regulariser_of,
    rule_of,
)
from netinverse.cli.reading import ARRAY, Model, parse_noise_level, parse_shape, read_array, require_file, require_picture
from netinverse.cli.telling import print_json, shown

NOT_CONVERGED = 3


def invert(
    model: Model,
    data: Annotated[Path, typer.Argument(metavar="DATA", help=f"Its outputs, (batch, ...): {ARRAY}")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Where the reconstruction goes (.npz).", show_default=False, metavar="OUT")
    ],
    noise_level: Annotated[
        str | None,
        typer.Option(
            help="||data - clean data||_2 of a sample: a number for all, or a .npy file with one for each.", metavar="NUMBER|FILE"
        ),
    ] = None,
    regulariser: AnyRegulariser = None,
    rule: Annotated[
        Rule | None, typer.Option(help="How alpha is chosen. Default: fixed with --alpha, discrepancy with --noise-level.")
    ] = None,
    alpha: Alpha = None,
    lower: Lower = None,
    upper: Upper = None,
    method: Annotated[Method | None, typer.Option(help="How it is regularised. Default: variational.")] = None,
    fidelity: Annotated[Fidelity | None, typer.Option(help="Default: the one that suits the last layer of MODEL.")] = None,
    input_shape: Annotated[
        str | None,
        typer.Option(help="Shape of one input, such as 1,28,28. Default: that of the model's own example.", metavar="NUMBERS"),
    ] = None,
    tolerance: Tolerance = 1e-6,
    max_steps: Annotated[int | None, typer.Option(help="Of the solver, at the chosen alpha.", metavar="COUNT")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a picture as well (.png, .pdf, .svg).", metavar="PICTURE")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Keep the work in this file; the same command goes on from it.", metavar="FILE")
    ] = None,
    progress: Progress = None,
    as_json: AsJson = False,
    strict: Annotated[bool, typer.Option("--strict", help="Leave with exit code 3 unless every sample converged.")] = False,
) -> int:
    if out.suffix != ".npz":
        raise ValueError(f"invert: OUT is {out}, but the reconstruction is written as .npz. Call it {out.stem}.npz.")
    require_picture("invert", plot)
    require_file(model, "MODEL")
    if rule is None and alpha is None and noise_level is None:
        raise ValueError(
            "invert: nothing says how strongly to regularise. Give --noise-level, --alpha, or a --rule that needs neither: "
            "quasi-optimality, l-curve or hanke-raus."
        )
    result = ni.invert(
        model,
        read_array(data, "DATA"),
        input_shape=None if input_shape is None else parse_shape(input_shape),
        noise_level=None if noise_level is None else parse_noise_level(noise_level),
        regulariser=regulariser_of(regulariser),
        constraint=box(lower, upper),
        rule=rule_of(rule, alpha),
        method=None if method is None else METHODS[method](),
        fidelity=None if fidelity is None else FIDELITIES[fidelity](),
        tolerance=tolerance,
        max_steps=max_steps,
        progress=shown(progress),
        checkpoint=checkpoint,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    result.save(out)
    if plot is not None:
        plot.parent.mkdir(parents=True, exist_ok=True)
        result.plot().savefig(plot)
    if as_json:
        print_json(description(result, out))
    else:
        typer.echo(result.summary())
    if not result.converged:
        typer.echo(f"netinverse: not every sample converged; {out} holds the status of each.", err=True)
    return NOT_CONVERGED if strict and not result.converged else 0


def description(result: ni.Reconstruction, out: Path) -> dict[str, Any]:
    """What is known of every sample, but its pictures."""
    columns = {
        "status": [status.name for status in result.status],
        "remedy": [None if status is ni.Status.CONVERGED else status.value for status in result.status],
        "alpha": result.alpha.tolist(),
        "residual": result.residual.tolist(),
        "fidelity": result.fidelity_value.tolist(),
        "certificate": result.certificate.value.tolist(),
        "steps": result.steps.tolist(),
    }
    return {
        "out": str(out),
        "converged": result.converged,
        "input_shape": list(result.x.shape[1:]),
        "certificate": {"kind": result.certificate.kind, "meaning": result.certificate.meaning},
        "samples": [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)],
        "message": result.message,
        "seconds": result.seconds,
    }
