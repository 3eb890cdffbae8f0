"""``netinverse invert | inspect | study | experiment``. Bad input ends with exit code 2 and one line on stderr."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

import netinverse as ni
from netinverse.networks.summary import description

app = typer.Typer(
    name="netinverse",
    help="Reconstruct the inputs of trained networks from their noisy outputs.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

studies = typer.Typer(help="Error against noise, for known inputs: stability, rates.", no_args_is_help=True)
app.add_typer(studies, name="study")


class Regulariser(StrEnum):
    tv = "tv"
    huber_tv = "huber-tv"
    tgv = "tgv"
    tikhonov = "tikhonov"
    l1 = "l1"
    elastic_net = "elastic-net"
    group = "group"
    wavelet = "wavelet"


class Rule(StrEnum):
    discrepancy = "discrepancy"
    fixed = "fixed"


class StudyRule(StrEnum):
    discrepancy = "discrepancy"
    a_priori = "a-priori"
    lepskii = "lepskii"
    quasi_optimality = "quasi-optimality"
    l_curve = "l-curve"
    hanke_raus = "hanke-raus"


class Size(StrEnum):
    full = "full"
    smoke = "smoke"


Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A network written by torch.export.save (.pt2).")]


def print_version(asked: bool) -> None:
    if asked:
        typer.echo(ni.__version__)
        raise typer.Exit()


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=print_version)
    ] = False,
) -> None:
    """Reconstruct the inputs of trained networks from their noisy outputs."""


@app.command()
def invert(
    model: Model,
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Its outputs, (batch, ...): .npy, or .npz with one array or one called data."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the reconstruction goes (.npz).", show_default=False)],
    noise_level: Annotated[
        str | None,
        typer.Option(
            help="||data - clean data||_2 of a sample: a number for all, or a .npy file with one for each.", metavar="NUMBER|FILE"
        ),
    ] = None,
    regulariser: Annotated[Regulariser | None, typer.Option(help="Default: tv for images, tikhonov otherwise.")] = None,
    rule: Annotated[
        Rule | None, typer.Option(help="How alpha is chosen. Default: fixed with --alpha, discrepancy with --noise-level.")
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="The regularisation weight of --rule fixed.")] = None,
    lower: Annotated[float | None, typer.Option(help="Smallest value an input may take.")] = None,
    upper: Annotated[float | None, typer.Option(help="Largest value an input may take.")] = None,
    input_shape: Annotated[
        str | None, typer.Option(help="Shape of one input, such as 1,28,28. Default: that of the model's own example.")
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Certificate over objective at which a sample is done.")] = 1e-6,
    plot: Annotated[Path | None, typer.Option(help="Write a picture as well (.png, .pdf, .svg).", metavar="PICTURE")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Keep the work in this file; the same command goes on from it.", metavar="FILE")
    ] = None,
    progress: Annotated[bool, typer.Option(help="Show progress bars.")] = True,
) -> None:
    """Reconstruct the inputs of MODEL from DATA and write them, with alpha, status and certificate, to OUT."""
    if out.suffix != ".npz":
        raise ValueError(f"invert: OUT is {out}, but the reconstruction is written as .npz. Call it {out.stem}.npz.")
    require_picture("invert", plot)
    require_file(model, "MODEL")
    samples = read_array(data, "DATA")
    result = ni.invert(
        model,
        samples,
        input_shape=None if input_shape is None else parse_shape(input_shape),
        noise_level=None if noise_level is None else parse_noise_level(noise_level),
        regulariser=REGULARISERS[regulariser]() if regulariser else None,
        constraint=box(lower, upper),
        rule=choose_rule(rule, alpha),
        tolerance=tolerance,
        progress=progress,
        checkpoint=checkpoint,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    result.save(out)
    typer.echo(result.summary())
    if plot is not None:
        plot.parent.mkdir(parents=True, exist_ok=True)
        result.plot().savefig(plot)
    if not result.converged:
        typer.echo(f"netinverse: not every sample converged; {out} holds the status of each.", err=True)


@app.command()
def inspect(
    model: Model,
    output: Annotated[
        str | None, typer.Option(help="The inner module whose value is the output, such as layer3.1.relu.", metavar="MODULE")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the graph as well (.png, .pdf, .svg).", metavar="PICTURE")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
) -> None:
    """Print the lifted structure of MODEL: its affine maps, its activations and their potentials."""
    require_picture("inspect", plot)
    require_file(model, "MODEL")
    network = ni.lift(model, output=output)
    typer.echo(json.dumps(description(network), indent=2) if as_json else network.summary())
    if plot is not None:
        plot.parent.mkdir(parents=True, exist_ok=True)
        ni.plots.structure(network).savefig(plot)


Truth = Annotated[
    Path,
    typer.Argument(
        metavar="TRUTH", help="Inputs that are known, (samples, ...): .npy, or .npz with one array or one called data."
    ),
]
Folder = Annotated[
    Path, typer.Option("--out", "-o", help="Folder of the results; an interrupted study goes on.", show_default=False)
]
Levels = Annotated[str | None, typer.Option(help="Norms of the noise, rising, separated by commas.", metavar="NUMBERS")]
Shares = Annotated[bool, typer.Option(help="The noise levels are shares of the norm of the data.")]
Seeds = Annotated[int, typer.Option(help="Draws of noise at each level.")]
StudyRules = Annotated[list[StudyRule] | None, typer.Option("--rule", help="How alpha is chosen; may be given more than once.")]
Jobs = Annotated[int | None, typer.Option(help="Processes to work in.")]
Kind = Annotated[str, typer.Option(help="gaussian, uniform, poisson or worst-case.")]


@studies.command()
def stability(
    model: Model,
    truth: Truth,
    out: Folder,
    noise_levels: Levels = "0.01,0.02,0.05,0.1,0.2",
    relative: Shares = True,
    seeds: Seeds = 1,
    rule: StudyRules = None,
    regulariser: Annotated[Regulariser | None, typer.Option(help="Default: tv for images, tikhonov otherwise.")] = None,
    lower: Annotated[float | None, typer.Option(help="Smallest value an input may take.")] = None,
    upper: Annotated[float | None, typer.Option(help="Largest value an input may take.")] = None,
    kind: Kind = "gaussian",
    tolerance: Annotated[float, typer.Option(help="Certificate over objective at which a sample is done.")] = 1e-4,
    jobs: Jobs = None,
    progress: Annotated[bool, typer.Option(help="Show a progress bar.")] = True,
) -> None:
    """Invert the outputs of known inputs at every noise level: how the error follows the noise."""
    settings = study_settings(noise_levels, relative, seeds, rule, regulariser, lower, upper, kind, tolerance, jobs, progress)
    finish(study_of(ni.stability_study, model, truth, out, settings), out)


@studies.command()
def rates(
    model: Model,
    truth: Truth,
    out: Folder,
    noise_levels: Levels = None,
    relative: Shares = True,
    seeds: Seeds = 1,
    rule: StudyRules = None,
    regulariser: Annotated[Regulariser | None, typer.Option(help="Default: tv for images, tikhonov otherwise.")] = None,
    lower: Annotated[float | None, typer.Option(help="Smallest value an input may take.")] = None,
    upper: Annotated[float | None, typer.Option(help="Largest value an input may take.")] = None,
    kind: Kind = "gaussian",
    tolerance: Annotated[float, typer.Option(help="Certificate over objective at which a sample is done.")] = 1e-8,
    jobs: Jobs = None,
    progress: Annotated[bool, typer.Option(help="Show a progress bar.")] = True,
) -> None:
    """The same over decades of noise, solved accurately: how fast the error vanishes with the noise."""
    settings = study_settings(noise_levels, relative, seeds, rule, regulariser, lower, upper, kind, tolerance, jobs, progress)
    finish(study_of(ni.convergence_study, model, truth, out, settings), out)


@app.command()
def experiment(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A script of the folder experiments/, such as demo.")],
    size: Annotated[Size, typer.Option(help="full as reported, smoke to see that it runs.")] = Size.full,
) -> None:
    """Run a script of experiments/. Works in a checkout of the project, where that folder lies."""
    places = Path.cwd(), Path(__file__).resolve().parents[1]
    roots = [root for root in places if (root / "experiments" / "__init__.py").is_file()]
    if not roots:
        raise FileNotFoundError(
            "experiment: there is no folder experiments/ here, since experiments are not part of the installed package. "
            "Run this command in a checkout of the project."
        )
    sys.path.insert(0, str(roots[0]))
    known = importlib.import_module("experiments").names()
    if name not in known:
        raise ValueError(f"experiment: {name!r} is unknown. Choose one of {', '.join(known)}.")
    importlib.import_module(f"experiments.{name}").main(size=size.value)


PICTURES = (".png", ".pdf", ".svg")
REGULARISERS: dict[Regulariser, Any] = {
    Regulariser.tv: ni.TotalVariation,
    Regulariser.huber_tv: ni.HuberTotalVariation,
    Regulariser.tgv: ni.TotalGeneralisedVariation,
    Regulariser.tikhonov: ni.Tikhonov,
    Regulariser.l1: ni.Sparsity,
    Regulariser.elastic_net: ni.ElasticNet,
    Regulariser.group: ni.GroupSparsity,
    Regulariser.wavelet: ni.WaveletSparsity,
}

RULES: dict[StudyRule, Any] = {
    StudyRule.discrepancy: ni.DiscrepancyPrinciple,
    StudyRule.a_priori: ni.APriori,
    StudyRule.lepskii: ni.Lepskii,
    StudyRule.quasi_optimality: ni.QuasiOptimality,
    StudyRule.l_curve: ni.LCurve,
    StudyRule.hanke_raus: ni.HankeRaus,
}


def study_settings(
    noise_levels: str | None,
    relative: bool,
    seeds: int,
    rules: list[StudyRule] | None,
    regulariser: Regulariser | None,
    lower: float | None,
    upper: float | None,
    kind: str,
    tolerance: float,
    jobs: int | None,
    progress: bool,
) -> dict[str, Any]:
    """The options as arguments of a study; those that were left out keep the study's default."""
    given = {
        "noise_levels": None if noise_levels is None else parse_numbers("--noise-levels", noise_levels),
        "rule": {each.value: RULES[each]() for each in rules} if rules else None,
        "regulariser": REGULARISERS[regulariser]() if regulariser else None,
        "constraint": box(lower, upper),
    }
    always = {"relative": relative, "seeds": seeds, "kind": kind, "tolerance": tolerance, "jobs": jobs, "progress": progress}
    return {**{name: value for name, value in given.items() if value is not None}, **always}


def study_of(run: Any, model: Path, truth: Path, out: Path, settings: dict[str, Any]) -> ni.Study:
    require_file(model, "MODEL")
    found: ni.Study = run(model, read_array(truth, "TRUTH"), folder=out / "cells", **settings)
    return found


def finish(study: ni.Study, out: Path) -> None:
    study.save(out / "study.parquet")
    study.report(out / "report.html")
    study.plot().savefig(out / "study.png", dpi=150)
    typer.echo(study.summary())
    for name in ("report.html", "study.png", "study.parquet"):
        typer.echo(out / name)


def parse_numbers(name: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(f"{name} is {text!r}, but must be numbers separated by commas, such as 0.01,0.05,0.1.") from error


def require_picture(who: str, path: Path | None) -> None:
    if path is not None and path.suffix not in PICTURES:
        raise ValueError(f"{who}: the picture is {path}, but must end in one of {', '.join(PICTURES)}.")


def require_file(path: Path, name: str) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{name} {path} is not a file. Check the path.")


def read_array(path: Path, name: str) -> torch.Tensor:
    """The array of a .npy file, or of a .npz file with one array or one called ``data``. Never unpickles."""
    require_file(path, name)
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(
            f"{name} {path} is not a NumPy file of numbers (pickled objects are not read, since they can run code). "
            f"Write it with numpy.save."
        ) from error
    if isinstance(found, np.lib.npyio.NpzFile):
        with found:
            key = "data" if "data" in found.files else found.files[0] if len(found.files) == 1 else None
            if key is None:
                raise ValueError(f"{name} {path} holds {', '.join(found.files) or 'nothing'}; keep one array, or call one data.")
            found = found[key]
    if found.dtype.kind not in "fiub":
        raise TypeError(f"{name} {path} has dtype {found.dtype}, but must hold real numbers.")
    if found.dtype.kind != "f" or found.dtype.itemsize > 8:
        found = found.astype(np.float64)
    return torch.from_numpy(np.ascontiguousarray(found, dtype=found.dtype.newbyteorder("=")))


def parse_noise_level(text: str) -> float | torch.Tensor:
    try:
        return float(text)
    except ValueError:
        return read_array(Path(text), "--noise-level: neither a number nor a file:")


def parse_shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.strip("() ").split(",") if part.strip())
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise ValueError(f"--input-shape is {text!r}, but must be positive whole numbers, such as 1,28,28.")
    return shape


def box(lower: float | None, upper: float | None) -> Any:
    """The constraint lower <= x <= upper; None where neither is given."""
    if lower is None and upper is None:
        return None
    if upper is None and lower == 0:
        return ni.NonNegative()
    return ni.Box(-float("inf") if lower is None else lower, float("inf") if upper is None else upper)


def choose_rule(rule: Rule | None, alpha: float | None) -> Any:
    """The rule that the options name; None leaves the choice to the library."""
    if rule is Rule.discrepancy:
        if alpha is not None:
            raise ValueError("--alpha fixes the weight that --rule discrepancy would choose. Drop one of the two.")
        return ni.DiscrepancyPrinciple()
    if alpha is not None:
        if not alpha > 0:
            raise ValueError(f"--alpha is {alpha:g}, but must be positive, since it weighs the regulariser.")
        return ni.Fixed(alpha)
    if rule is Rule.fixed:
        raise ValueError("--rule fixed needs --alpha, the regularisation weight.")
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is returned. Input that cannot be used ends here, in one line."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = typer.main.get_command(app).main(args=given or ["--help"], prog_name="netinverse", standalone_mode=False)
    except typer.Abort:
        return complain("interrupted", 130)
    except typer.TyperException as error:
        return complain(error.format_message().replace("Value error, ", "").rstrip(".") + ". See --help.", 2)
    except (ValueError, TypeError, OSError, ImportError) as error:
        return complain(str(error), 2)
    return code if isinstance(code, int) else 0


def complain(message: str, code: int) -> int:
    typer.echo("netinverse: " + " ".join(message.split()), err=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
