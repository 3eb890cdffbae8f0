"""Rates of convergence behind one layer: three activations, three regularisers, truths with a source element known exactly."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm import tqdm

import netinverse as ni

SHRINKAGE, MARGIN = 0.3, 0.1
SHARE = 0.25
"""alpha = SHARE * delta/||v||: 1 makes the bound least; less shows more of the noise."""
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "ReLU": nn.ReLU,
    "tanh": nn.Tanh,
    "soft-threshold": lambda: nn.Softshrink(SHRINKAGE),
}
REGULARISERS: dict[str, Any] = {"Tikhonov": ni.Tikhonov(), "l1": ni.Sparsity(), "total variation": ni.TotalVariation()}
RULES = ("a priori", "Morozov")


@dataclass(frozen=True)
class Size:
    side: int
    rows: int
    few_rows: int
    decades: float
    noise: tuple[float, ...]
    samples: int
    seeds: int
    factors: tuple[float, ...]
    tolerances: dict[str, float]
    search: int
    activations: tuple[str, ...]
    folder: str


SIZES = {
    "full": Size(
        side=4,
        rows=64,
        few_rows=12,
        decades=1.0,
        noise=tuple(np.logspace(-5, -1, 9).tolist()),
        samples=6,
        seeds=2,
        factors=(0.1, 0.3, 3.0, 10.0),
        tolerances={"Tikhonov": 1e-10, "l1": 1e-7, "total variation": 1e-7},
        search=5_000,
        activations=tuple(ACTIVATIONS),
        folder="out/rates",
    ),
    "smoke": Size(
        side=3,
        rows=36,
        few_rows=6,
        decades=0.5,
        noise=(1e-2, 1e-1),
        samples=1,
        seeds=1,
        factors=(3.0,),
        tolerances=dict.fromkeys(REGULARISERS, 1e-4),
        search=50,
        activations=("ReLU",),
        folder="out/rates-smoke",
    ),
}


@dataclass(frozen=True)
class Line:
    """One activation, regulariser and rule. D: the symmetric Bregman distance to the truth, measured with the known element.

    slope: of the mean of D in the noise level; bounded, violations: rows with a finite bound, and those above it; tightest: the
    largest D over its bound; behind: the error over that of the best weight, the mean at the worst noise level and the worst of
    all (Morozov only); element_found: ||v|| of ni.source_element over that of the known one, at most.
    """

    activation: str
    regulariser: str
    rule: str
    slope: float
    bounded: int
    rows: int
    violations: int
    tightest: float
    behind: float | None
    behind_at_worst: float | None
    element_found: float
    ended: dict[str, int]


def layer(activation: str, rows: int, columns: int, decades: float, seed: int) -> nn.Sequential:
    """Singular values from sqrt(rows) down by ``decades``, evenly in their logarithms; small biases."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.linalg.qr(torch.randn(max(rows, columns), columns, generator=generator, dtype=torch.float64)).Q[:rows]
    right = torch.linalg.qr(torch.randn(columns, columns, generator=generator, dtype=torch.float64)).Q
    affine = nn.Linear(columns, rows, dtype=torch.float64)
    values = math.sqrt(rows) * torch.logspace(0, -decades, columns, dtype=torch.float64)
    affine.weight.data = left @ torch.diag(values) @ right.T
    affine.bias.data = 0.1 * torch.randn(rows, generator=generator, dtype=torch.float64)
    return nn.Sequential(nn.Flatten(), affine, ACTIVATIONS[activation]()).eval().requires_grad_(False)


def affine_of(network: nn.Sequential) -> nn.Linear:
    found = network[1]
    assert isinstance(found, nn.Linear)
    return found


def carrying(activation: str, z: Tensor) -> Tensor:
    """Rows that may carry a source element: where the activation is clear of what it makes constant."""
    if activation == "ReLU":
        return z > MARGIN
    return z.abs() > SHRINKAGE + MARGIN if activation == "soft-threshold" else torch.ones_like(z, dtype=torch.bool)


def scaled(x: Tensor, matrix: Tensor, activation: str) -> Tensor:
    """x times what makes the pre-activations of size 1; 1/2 for tanh, which would saturate."""
    return x * ((0.5 if activation == "tanh" else 1.0) / (matrix @ x).square().mean().sqrt())


def truth_with_element(network: nn.Sequential, activation: str, regulariser: str, seed: int, side: int) -> tuple[Tensor, Tensor]:
    """A truth x, (side^2,), and a v with W^T v in dR(x) to rounding, zero on rows that may not carry it. Drawn until found."""
    matrix, bias = affine_of(network).weight, affine_of(network).bias
    generator = torch.Generator().manual_seed(seed)
    for _ in range(10_000):
        if regulariser == "Tikhonov":
            v = torch.randn(len(matrix), generator=generator, dtype=torch.float64)
            for _ in range(len(matrix)):
                x = scaled(matrix.T @ v, matrix, activation)
                v = v * (x.norm() / (matrix.T @ v).norm())
                kept = v * carrying(activation, matrix @ x + bias)
                if torch.equal(kept, v) or not kept.any():
                    break
                v = kept
            if v.any() and torch.equal(kept, v):
                return x, v
            continue
        drawn = spikes(side, generator) if regulariser == "l1" else rectangle(side, generator)
        x = scaled(drawn, matrix, activation)
        rows = carrying(activation, matrix @ x + bias)
        wanted = torch.ones_like(x, dtype=torch.bool) if regulariser == "total variation" else x != 0
        p = variation_subgradient(x, side) if regulariser == "total variation" else x.sign()
        v = torch.zeros_like(bias)
        v[rows] = torch.linalg.lstsq(matrix[rows][:, wanted].T, p[wanted, None], driver="gelsd").solution[:, 0]
        image = matrix.T @ v
        off_support = image[~wanted].abs().max() if not wanted.all() else torch.zeros(())
        if (image - p)[wanted].norm() < 1e-10 * p.norm() and off_support < 1:
            return x, v
    raise RuntimeError(f"no truth with a source element for {activation} and {regulariser} in 10,000 draws; take more rows.")


def spikes(side: int, generator: torch.Generator) -> Tensor:
    x = torch.zeros(side**2, dtype=torch.float64)
    x[torch.randperm(len(x), generator=generator)[:3]] = torch.randn(3, generator=generator, dtype=torch.float64)
    return x


def rectangle(side: int, generator: torch.Generator) -> Tensor:
    """A rectangle of random place and height on a background of another height."""
    x = torch.full((side, side), float(torch.randn((), generator=generator)), dtype=torch.float64)
    (top, bottom), (left, right) = (torch.randperm(side + 1, generator=generator)[:2].sort().values.tolist() for _ in range(2))
    x[top:bottom, left:right] += torch.randn((), generator=generator, dtype=torch.float64)
    return x.flatten()


def variation_subgradient(x: Tensor, side: int) -> Tensor:
    """The p in dTV(x) that has the direction of the gradient at the jumps and nothing elsewhere."""
    gradient = ni.TotalVariation().transform((1, side, side))
    field = gradient(x.reshape(1, 1, side, side))
    size = field.square().sum(1, keepdim=True).sqrt()
    jumps = size > 1e-10 * size.max()
    return gradient.adjoint(torch.where(jumps, field / torch.where(jumps, size, 1.0), 0.0)).flatten()


@dataclass(frozen=True)
class Problem:
    """Truths of one activation and regulariser, and their noisy data at every (noise level, seed, sample)."""

    network: ni.LiftedNetwork
    regulariser: Any
    truth: Tensor
    data: Tensor
    noise_level: Tensor
    index: pd.DataFrame

    @classmethod
    def of(cls, network: nn.Sequential, regulariser: str, truth: Tensor, size: Size) -> Problem:
        places = pd.MultiIndex.from_product(
            [range(len(size.noise)), range(size.seeds), range(len(truth))], names=["level", "seed", "sample"]
        ).to_frame(index=False)
        lifted = ni.lift(network, truth)
        clean = lifted(truth)
        parts = []
        for seed in range(size.seeds):
            relative = torch.tensor(size.noise, dtype=torch.float64).repeat_interleave(len(truth))
            parts.append(ni.add_noise(clean.repeat(len(size.noise), 1), relative=relative, seed=seed))
        shape = (size.seeds, len(size.noise), len(truth))
        data = torch.stack([d for d, _ in parts]).reshape(*shape, -1).transpose(0, 1).flatten(0, 2)
        level = torch.stack([noise for _, noise in parts]).reshape(shape).transpose(0, 1).flatten()
        return cls(lifted, REGULARISERS[regulariser], truth, data, level, places)

    @property
    def truths(self) -> Tensor:
        return self.truth[self.index["sample"].tolist()]

    def invert(self, rule: Any, tolerance: float, repeats: int = 1) -> ni.Reconstruction:
        """Every row ``repeats`` times, one after the other."""
        return ni.invert(
            self.network,
            self.data.repeat(repeats, 1),
            noise_level=self.noise_level.repeat(repeats),
            regulariser=self.regulariser,
            rule=rule,
            tolerance=tolerance,
        )

    def errors(self, x: Tensor) -> Tensor:
        """Relative errors of ``x``, (repeats, rows)."""
        truths = self.truths.flatten(1)
        found: Tensor = (x.flatten(1).reshape(-1, *truths.shape) - truths).norm(dim=2) / truths.norm(dim=1)
        return found


def measured(problem: Problem, name: str, result: ni.Reconstruction, source: Any) -> pd.DataFrame:
    """The columns of a study, with the source elements given."""
    each = torch.tensor(problem.index["sample"].tolist())
    fields = ("v", "norm", "residual", "holds", "subgradient", "rows")
    here = replace(source, **{field: getattr(source, field)[each] for field in fields})
    truths, p = problem.truths, here.subgradient
    assert result.subgradient is not None
    bound = ni.error_bound(
        problem.network, truths, problem.data, result.alpha, problem.regulariser, here, noise_level=problem.noise_level
    )
    assert bound.kind == "symmetric"
    columns = {
        "noise_level": problem.noise_level,
        "relative_noise": problem.noise_level / problem.network(truths).norm(dim=1),
        "alpha": result.alpha,
        "error": (result.x - truths).flatten(1).norm(dim=1),
        "bregman_distance": ni.bregman_distance(problem.regulariser, result.x, truths, p),
        "symmetric_distance": ni.symmetric_bregman_distance(problem.regulariser, result.x, truths, result.subgradient, p),
        "bound": bound.value,
        "gap": result.certificate.value,
        "penalty": problem.regulariser(truths),
        "residual": result.residual,
    }
    table = problem.index.assign(rule=name, bound_kind=bound.kind, status=[status.name for status in result.status])
    columns["relative_error"] = problem.errors(result.x)[0]
    return table.assign(**{label: column.numpy() for label, column in columns.items()})


def with_element(activation: str, regulariser: str, size: Size) -> tuple[list[Line], pd.DataFrame]:
    """Both rules on truths whose source element is known, and what the best weight would have reached."""
    network = layer(activation, size.rows, size.side**2, size.decades, seed=0)
    pairs = [truth_with_element(network, activation, regulariser, seed, size.side) for seed in range(size.samples)]
    truth = torch.stack([x for x, _ in pairs]).reshape(-1, 1, size.side, size.side)
    v = torch.stack([v for _, v in pairs])
    problem = Problem.of(network, regulariser, truth, size)
    found = ni.source_element(problem.network, truth, problem.regulariser, max_iterations=size.search)
    p = (v @ affine_of(network).weight).reshape_as(truth)
    known = replace(
        found, v=v, norm=v.norm(dim=1), residual=torch.zeros_like(found.residual), holds=found.holds | True, subgradient=p
    )
    constant = SHARE / float(v.norm(dim=1).median())
    results = {
        "a priori": problem.invert(ni.APriori(constant=constant), size.tolerances[regulariser]),
        "Morozov": problem.invert(ni.DiscrepancyPrinciple(floor=0.0), size.tolerances[regulariser]),
    }
    tables = {name: measured(problem, name, result, known) for name, result in results.items()}
    behind = against_best(problem, results["Morozov"], tables["Morozov"], size)
    lines = []
    for name, table in tables.items():
        study = ni.Study(table, {"activation": activation, "regulariser": regulariser})
        finite = table[np.isfinite(table["bound"])]
        lines.append(
            Line(
                activation=activation,
                regulariser=regulariser,
                rule=name,
                slope=slope(table),
                bounded=study.bounded,
                rows=len(table),
                violations=len(study.violations),
                tightest=float((finite["symmetric_distance"] / finite["bound"]).max()),
                behind=behind[0] if name == "Morozov" else None,
                behind_at_worst=behind[1] if name == "Morozov" else None,
                element_found=float((found.norm / known.norm).max()),
                ended={str(name): int(count) for name, count in table["status"].value_counts().items()},
            )
        )
    return lines, pd.concat(tables.values(), ignore_index=True).assign(activation=activation, regulariser=regulariser)


def against_best(problem: Problem, morozov: ni.Reconstruction, table: pd.DataFrame, size: Size) -> tuple[float, float]:
    """Morozov's error over the least on a grid of weights around his: the largest mean of a noise level, and the largest."""
    alphas = torch.cat([factor * morozov.alpha for factor in size.factors])
    tried = problem.errors(problem.invert(ni.Fixed(alphas), 1e-6, len(size.factors)).x)
    table["best_error"] = np.minimum(tried.amin(0).numpy(), table["relative_error"])
    ratio = table["relative_error"] / table["best_error"]
    return float(ratio.groupby(table["level"]).mean().max()), float(ratio.max())


def slope(table: pd.DataFrame) -> float:
    """Of log(mean D) against log(noise): D of l1 and total variation is exactly zero for some draws, which have no logarithm."""
    means = table.groupby("level")[["noise_level", "symmetric_distance"]].mean()
    means = means[means["symmetric_distance"] > 0]
    return float(np.polyfit(np.log(means["noise_level"]), np.log(means["symmetric_distance"]), 1)[0])


def without_element(activation: str, regulariser: str, size: Size) -> tuple[float, pd.DataFrame]:
    """Dense random truths behind few rows, where no source element exists: how far from one, and the errors of both rules."""
    rows = size.few_rows * (2 if activation == "ReLU" else 1)
    network = layer(activation, rows, size.side**2, size.decades, seed=1)
    generator = torch.Generator().manual_seed(0)
    matrix, bias = affine_of(network).weight, affine_of(network).bias
    found: list[Tensor] = []
    while len(found) < size.samples:
        x = scaled(torch.randn(size.side**2, generator=generator, dtype=torch.float64), matrix, activation)
        if int(carrying(activation, matrix @ x + bias).sum()) <= size.few_rows:  # more active rows may span every subgradient
            found.append(x)
    truth = torch.stack(found).reshape(-1, 1, size.side, size.side)
    problem = Problem.of(network, regulariser, truth, size)
    source = ni.source_element(problem.network, truth, problem.regulariser, max_iterations=size.search)
    tables = []
    for name, rule in (("a priori", ni.APriori()), ("Morozov", ni.DiscrepancyPrinciple(floor=0.0))):
        errors = problem.errors(problem.invert(rule, 1e-5).x)[0]
        relative = problem.noise_level / problem.network(problem.truths).norm(dim=1)
        tables.append(problem.index.assign(rule=name, relative_noise=relative.numpy(), relative_error=errors.numpy()))
    rows_found = pd.concat(tables, ignore_index=True).assign(activation=activation, regulariser=regulariser)
    return float(source.residual.min()), rows_found


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``distance.png``, ``error.png`` and ``result.json`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    lines: list[Line] = []
    exact, rough = [], []
    residuals: dict[str, float] = {}
    cases = [(activation, regulariser) for activation in chosen.activations for regulariser in REGULARISERS]
    for activation, regulariser in tqdm(cases, desc="activations and regularisers", unit="case"):
        found, rows = with_element(activation, regulariser, chosen)
        lines += found
        exact.append(rows)
        residuals[f"{activation}, {regulariser}"], rows = without_element(activation, regulariser, chosen)
        rough.append(rows)
    with_one, without_one = pd.concat(exact, ignore_index=True), pd.concat(rough, ignore_index=True)
    report = {"size": size, **reached(lines), "lines": [asdict(line) for line in lines], "residual_without": residuals}
    print(table(lines, report, without_one))
    folder = Path(out or chosen.folder)
    folder.mkdir(parents=True, exist_ok=True)
    distances(with_one).savefig(folder / "distance.png", dpi=130)
    errors(with_one, without_one).savefig(folder / "error.png", dpi=130)
    (folder / "result.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print("\n".join(str(folder / name) for name in ("distance.png", "error.png", "result.json")))
    return report


def reached(lines: list[Line]) -> dict[str, Any]:
    return {
        "bounded": sum(line.bounded for line in lines),
        "violations": sum(line.violations for line in lines),
        "least_slope_a_priori": min(line.slope for line in lines if line.rule == "a priori"),
        "most_behind": max(line.behind for line in lines if line.behind is not None),
        "most_behind_at_worst": max(line.behind_at_worst for line in lines if line.behind_at_worst is not None),
    }


def table(lines: list[Line], report: dict[str, Any], rough: pd.DataFrame) -> str:
    out = ["D: symmetric Bregman distance to truths with a known source element"]
    out.append(
        f"{'activation':16}{'regulariser':17}{'rule':10}{'slope of D':>11}{'bounds':>11}{'violated':>9}{'D/bound':>9}"
        f"{'error/best':>12}{'worst':>7}  status"
    )
    for line in lines:
        behind = "".join(f"{'-' if b is None else f'{b:.2f}':>{w}}" for b, w in ((line.behind, 12), (line.behind_at_worst, 7)))
        out.append(
            f"{line.activation:16}{line.regulariser:17}{line.rule:10}{line.slope:>11.3f}{f'{line.bounded}/{line.rows}':>11}"
            f"{line.violations:>9}{line.tightest:>9.2f}{behind}  "
            + ", ".join(f"{count} {name}" for name, count in line.ended.items())
        )
    out.append(
        f"{report['violations']} of {report['bounded']} bounds violated; least slope of the a priori rule "
        f"{report['least_slope_a_priori']:.3f}; Morozov's error at most {report['most_behind']:.2f} times the best "
        f"(mean of a noise level), {report['most_behind_at_worst']:.2f} times in the worst case"
    )
    ends = rough.groupby("level")["relative_error"].median().iloc[[-1, 0]].tolist()
    out.append(
        f"without a source element (the nearest leaves {min(report['residual_without'].values()):.2f} of p or more): median "
        f"relative error {ends[0]:.2f} at the most noise, {ends[1]:.2f} at the least"
    )
    return "\n".join(out)


COLOURS = dict(zip(RULES, ("C0", "C1"), strict=True))
# Both rules often come to the same: the second is drawn inside the first.
MARKERS: dict[str, dict[str, Any]] = {
    RULES[0]: {"marker": "o", "ms": 7, "mfc": "none", "lw": 2.4},
    RULES[1]: {"marker": "o", "ms": 3.5, "lw": 1.2},
}
LEAST = 1e-13
"""What is smaller is drawn as this: the solver's accuracy, and distances that are zero."""


def panels(rows: pd.DataFrame, height: float) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """A row for each activation, a column for each regulariser."""
    activations, regularisers = rows["activation"].unique().tolist(), rows["regulariser"].unique().tolist()
    figure = Figure(figsize=(3.3 * len(regularisers) + 0.4, height * len(activations) + 1.0), layout="constrained")
    axes = figure.subplots(len(activations), len(regularisers), squeeze=False, sharex=True, sharey=True)
    for axis, name in zip(axes[0], regularisers, strict=True):
        axis.set_title(name, fontsize=11)
    for axis in axes.flat:
        axis.set(xscale="log", yscale="log")
        axis.grid(alpha=0.3)
    for line, name in zip(axes, activations, strict=True):
        line[0].annotate(name, (-0.32, 0.5), xycoords="axes fraction", rotation=90, ha="center", va="center", fontsize=11)
    for axis in axes[-1]:
        axis.set_xlabel("noise / norm of the data")
    return figure, {(a, r): axes[i, j] for i, a in enumerate(activations) for j, r in enumerate(regularisers)}


def legend(figure: Figure, axes: dict[tuple[str, str], Axes]) -> None:
    lines = {str(line.get_label()): line for axis in axes.values() for line in axis.get_lines()}
    shown = {label: line for label, line in lines.items() if not label.startswith("_")}
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=4, fontsize=9, frameon=False)


def distances(rows: pd.DataFrame) -> Figure:
    """D against noise with its bound, slope 1, and the solver's own accuracy gap/alpha.

    The mean of D, which is zero for some draws, with the middle 80 % of draws, and the median of the bounds, which are large for
    some: noise on a unit where the activation is constant costs B as much as it, not its square, unless the fidelity recognises
    it (``BregmanFidelity.snap``).
    """
    figure, axes = panels(rows, 2.5)
    for place, axis in axes.items():
        here = rows[(rows["activation"] == place[0]) & (rows["regulariser"] == place[1])]
        for rule in RULES:
            part = here[here["rule"] == rule]
            levels = part.groupby("level")
            noise, colour = levels["relative_noise"].median(), COLOURS[rule]
            finite = part["bound"].where(np.isfinite(part["bound"]))
            accuracy = (part["gap"] / part["alpha"]).groupby(part["level"]).median()
            low, high = (levels["symmetric_distance"].quantile(q).clip(lower=LEAST) for q in (0.1, 0.9))
            axis.fill_between(noise, low.to_numpy(), high.to_numpy(), color=colour, alpha=0.12, lw=0)
            axis.plot(noise, levels["symmetric_distance"].mean(), color=colour, label=f"{rule}: D, mean", **MARKERS[rule])
            axis.plot(noise, finite.groupby(part["level"]).median(), "--", color=colour, label=f"{rule}: its bound, median")
            axis.plot(noise, accuracy.clip(lower=LEAST), ":", color=colour, label=f"{rule}: gap / alpha of the solver")
        first = here[here["rule"] == RULES[0]].groupby("level")
        ends, top = first["relative_noise"].median().to_numpy(), float(first["symmetric_distance"].mean().iloc[-1])
        for power, style in ((1, "-"), (2, "-.")):
            if power == 1 or place[1] == next(iter(REGULARISERS)):
                axis.plot(ends, top / 6 * (ends / ends[-1]) ** power, style, color="0.4", lw=1, label=f"slope {power}")
        axis.set_ylim(LEAST / 10, 100)
    for (_, regulariser), axis in axes.items():
        if regulariser == next(iter(REGULARISERS)):
            axis.set_ylabel("Bregman distance D")
    legend(figure, axes)
    return figure


def errors(rows: pd.DataFrame, rough: pd.DataFrame) -> Figure:
    """Relative error against noise, with a source element and without, median and middle 80 %; crosses: the best weight."""
    figure, axes = panels(rows, 2.5)
    for place, axis in axes.items():
        for found, style, said in ((rows, "-", "source element"), (rough, "--", "no source element")):
            here = found[(found["activation"] == place[0]) & (found["regulariser"] == place[1])]
            for rule in RULES:
                part = here[here["rule"] == rule]
                levels = part.groupby("level")
                noise, colour = levels["relative_noise"].median(), COLOURS[rule]
                low, high = (levels["relative_error"].quantile(q) for q in (0.1, 0.9))
                axis.fill_between(noise, low.to_numpy(), high.to_numpy(), color=colour, alpha=0.12, lw=0)
                axis.plot(
                    noise, levels["relative_error"].median(), ls=style, color=colour, label=f"{rule}, {said}", **MARKERS[rule]
                )
                if rule == "Morozov" and "best_error" in part:
                    axis.plot(noise, levels["best_error"].median(), "kx", ms=6, label="best weight, source element")
        if place[1] == next(iter(REGULARISERS)):
            axis.set_ylabel("relative error, median")
    legend(figure, axes)
    return figure


if __name__ == "__main__":
    main()
