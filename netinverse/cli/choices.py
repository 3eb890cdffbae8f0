"""What the options name, and the objects they stand for."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

import netinverse as ni


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
    fixed = "fixed"
    discrepancy = "discrepancy"
    a_priori = "a-priori"
    lepskii = "lepskii"
    quasi_optimality = "quasi-optimality"
    l_curve = "l-curve"
    hanke_raus = "hanke-raus"


class Method(StrEnum):
    variational = "variational"
    bregman = "bregman"
    linearised_bregman = "linearised-bregman"
    landweber = "landweber"
    gauss_newton = "gauss-newton"
    levenberg_marquardt = "levenberg-marquardt"


class Fidelity(StrEnum):
    bregman = "bregman"
    squared = "squared"
    kullback_leibler = "kullback-leibler"


class Noise(StrEnum):
    gaussian = "gaussian"
    uniform = "uniform"
    poisson = "poisson"
    worst_case = "worst-case"


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
RULES: dict[Rule, Any] = {
    Rule.discrepancy: ni.DiscrepancyPrinciple,
    Rule.a_priori: ni.APriori,
    Rule.lepskii: ni.Lepskii,
    Rule.quasi_optimality: ni.QuasiOptimality,
    Rule.l_curve: ni.LCurve,
    Rule.hanke_raus: ni.HankeRaus,
}
METHODS: dict[Method, Any] = {
    Method.variational: ni.Variational,
    Method.bregman: ni.BregmanIteration,
    Method.linearised_bregman: ni.LinearisedBregman,
    Method.landweber: ni.Landweber,
    Method.gauss_newton: ni.GaussNewton,
    Method.levenberg_marquardt: ni.LevenbergMarquardt,
}
FIDELITIES: dict[Fidelity, Any] = {
    Fidelity.bregman: ni.BregmanFidelity,
    Fidelity.squared: ni.SquaredFidelity,
    Fidelity.kullback_leibler: ni.KullbackLeibler,
}

# Options that several commands have.
AnyRegulariser = Annotated[Regulariser | None, typer.Option(help="R. Default: tv for images, tikhonov otherwise.")]
Alpha = Annotated[float | None, typer.Option(help="The regularisation weight of --rule fixed.", metavar="NUMBER")]
Lower = Annotated[float | None, typer.Option(help="Smallest value an input may take.", metavar="NUMBER")]
Upper = Annotated[float | None, typer.Option(help="Largest value an input may take.", metavar="NUMBER")]
Tolerance = Annotated[float, typer.Option(help="Certificate over objective at which a sample is done.", metavar="NUMBER")]
Progress = Annotated[
    bool | None, typer.Option("--progress/--no-progress", help="Show bars. Default: where stderr is a terminal.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")]


def regulariser_of(chosen: Regulariser | None) -> Any:
    return None if chosen is None else REGULARISERS[chosen]()


def box(lower: float | None, upper: float | None) -> Any:
    """The constraint lower <= x <= upper; None where neither is given."""
    if lower is None and upper is None:
        return None
    if upper is None and lower == 0:
        return ni.NonNegative()
    return ni.Box(-float("inf") if lower is None else lower, float("inf") if upper is None else upper)


def rule_of(chosen: Rule | None, alpha: float | None) -> Any:
    """The rule that the options name; None leaves the choice to the library."""
    if chosen is not None and chosen is not Rule.fixed:
        if alpha is not None:
            raise ValueError(f"--alpha fixes the weight that --rule {chosen.value} would choose. Drop one of the two.")
        return RULES[chosen]()
    if alpha is not None:
        if not alpha > 0:
            raise ValueError(f"--alpha is {alpha:g}, but must be positive, since it weighs the regulariser.")
        return ni.Fixed(alpha)
    if chosen is Rule.fixed:
        raise ValueError("--rule fixed needs --alpha, the regularisation weight.")
    return None
