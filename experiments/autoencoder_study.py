"""Digits from noisy codes, 0 to 20 % noise: three rules and many seeds; every rule and method, a generator, a decoder, Adam."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

import netinverse as ni
from experiments.autoencoder import SMOKE, Autoencoder, Settings, autoencoder
from experiments.benchmarks.noise_levels import BOUNDS, adam

RULES: dict[str, Any] = {
    "discrepancy principle": ni.DiscrepancyPrinciple(),
    "a priori, alpha = 0.1 delta": ni.APriori(constant=0.1),
    "fixed, alpha = 0.1": ni.Fixed(0.1),
}
# These walk over the weights, all but the last over some thirty of them, which costs three to ten times the rules above.
WALKING: dict[str, Any] = {
    "Lepskii": ni.Lepskii(),
    "quasi-optimality": ni.QuasiOptimality(),
    "L-curve": ni.LCurve(),
    "Hanke-Raus": ni.HankeRaus(),
    "sequential discrepancy": ni.SequentialDiscrepancy(),
}
METHODS: dict[str, Any] = {
    "Bregman iteration": ni.BregmanIteration(),
    "linearised Bregman": ni.LinearisedBregman(),
    "Landweber": ni.Landweber(),
    "Gauss-Newton": ni.GaussNewton(),
    "Levenberg-Marquardt": ni.LevenbergMarquardt(),
}


@dataclass(frozen=True)
class Size:
    """``digits`` and ``seeds`` of the study of ``rules``; ``few`` digits with one seed for everything else."""

    digits: int
    seeds: int
    few: int
    noise: tuple[float, ...]
    settings: Settings
    tolerance: float
    alphas: tuple[float, ...]
    steps: int
    rules: tuple[str, ...]
    walking: tuple[str, ...]
    methods: tuple[str, ...]
    jobs: int
    folder: str


SIZES = {
    "full": Size(
        digits=50,
        seeds=5,
        few=10,
        noise=(0.0, 0.01, 0.02, 0.05, 0.1, 0.2),
        settings=Settings(),
        tolerance=1e-3,
        alphas=(0.01, 0.03, 0.1, 0.3, 1.0),
        steps=600,
        rules=tuple(RULES),
        walking=tuple(WALKING),
        methods=tuple(METHODS),
        jobs=2,
        folder="out/autoencoder_study",
    ),
    "smoke": Size(
        digits=1,
        seeds=1,
        few=1,
        noise=(0.1, 0.2),
        settings=SMOKE,
        tolerance=1e-1,
        alphas=(0.1,),
        steps=20,
        rules=("discrepancy principle",),
        walking=(),
        methods=("Landweber",),
        jobs=1,
        folder="out/autoencoder_study-smoke",
    ),
}


def relative_error(x: Tensor, truth: Tensor) -> list[float]:
    errors: list[float] = ((x - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)).tolist()
    return errors


def of_rules(network: Autoencoder, truth: Tensor, size: Size, folder: Path) -> tuple[pd.DataFrame, float]:
    """The study: every rule on every digit, noise level and seed, with total variation; its wall-clock seconds."""
    began = time.perf_counter()
    study = ni.stability_study(
        network.encoder,
        truth,
        noise_levels=size.noise,
        relative=True,
        constraint=BOUNDS,
        rule={name: RULES[name] for name in size.rules},
        seeds=size.seeds,
        tolerance=size.tolerance,
        folder=folder / f"cells-{zlib.crc32(repr(size).encode()):08x}",  # other settings are another study
        jobs=size.jobs,
        batch_size=50,
        progress=True,
    )
    seconds = time.perf_counter() - began
    table = study.table.assign(error=study.table.relative_error, method=study.table.rule)
    noise = [size.noise[level] for level in table.level]
    return table.assign(noise=noise)[["method", "noise", "sample", "seed", "error", "status"]], seconds


def of_everything_else(network: Autoencoder, truth: Tensor, size: Size) -> pd.DataFrame:
    """On the first digits: the rules that walk, the methods that stop by the noise level, a generator, the decoder, Adam."""
    clean = network.encoder(truth).detach()
    rows: list[dict[str, Any]] = []
    none = ("",) * len(truth)
    for noise in tqdm(size.noise, desc="the rest", unit="noise level"):
        data, level = ni.add_noise(clean, relative=noise, seed=0)

        def keep(name: str, solve: Callable[[], tuple[Tensor, tuple[str, ...]]], noise: float = noise) -> None:
            x, status = solve()
            errors = relative_error(x, truth)
            rows.extend(
                {"method": name, "noise": noise, "sample": i, "seed": 0, "error": error, "status": said}
                for i, (error, said) in enumerate(zip(errors, status, strict=True))
            )

        def inverted(data: Tensor = data, level: Tensor = level, **arguments: Any) -> tuple[Tensor, tuple[str, ...]]:
            arguments = {"constraint": BOUNDS, "input_shape": (1, 28, 28), "noise_level": level, **arguments}
            result = ni.invert(network.encoder, data, tolerance=size.tolerance, **arguments)
            return result.x, tuple(status.name for status in result.status)

        for name in size.walking:
            keep(name, lambda name=name, run=inverted: run(rule=WALKING[name]))  # type: ignore[misc]
        for name in size.methods:
            keep(name, lambda name=name, run=inverted: run(method=METHODS[name]))  # type: ignore[misc]
        prior = ni.GeneratorPrior(network.decoder, constraint=ni.NonNegative())
        keep("decoder as generator", lambda run=inverted, prior=prior: run(regulariser=prior, constraint=None))  # type: ignore[misc]
        keep("trained decoder", lambda data=data: (network.decoder(data).detach(), none))  # type: ignore[misc]
        runs = [adam(network.encoder, data, (1, 28, 28), alpha, 0.1, size.steps, box=True) for alpha in size.alphas]
        best = min(runs, key=lambda x: sum(relative_error(x, truth)))
        keep("Adam, best weight of a grid", lambda best=best: (best, none))  # type: ignore[misc]
    return pd.DataFrame(rows)


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table of median errors; write ``errors.png`` and ``result.json`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    folder = Path(out or chosen.folder)
    folder.mkdir(parents=True, exist_ok=True)
    network = autoencoder(chosen.settings)
    truth = network.held_out[: chosen.digits]
    rules, seconds = of_rules(network, truth, chosen, folder)
    rest = of_everything_else(network, truth[: chosen.few], chosen)
    everything = pd.concat([rules, rest], ignore_index=True)
    medians = everything.groupby(["method", "noise"], sort=False).error.median().unstack("noise")
    report = {
        "size": size,
        "inversions": len(rules),
        "seconds": seconds,
        "medians": {str(name): {f"{noise:g}": float(v) for noise, v in row.items()} for name, row in medians.iterrows()},
        "status": {str(name): part.status.value_counts().to_dict() for name, part in everything.groupby("method", sort=False)},
    }
    print(table(medians, everything, len(rules), seconds, chosen))
    picture(everything, chosen).savefig(folder / "errors.png", dpi=130)
    (folder / "result.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print(f"{folder / 'errors.png'}\n{folder / 'result.json'}")
    return report


def table(medians: pd.DataFrame, everything: pd.DataFrame, inversions: int, seconds: float, size: Size) -> str:
    lines = [
        f"median relative error; the rules over {size.digits} digits and {size.seeds} seed(s), the rest over {size.few} digits",
        f"{'noise':30}" + "".join(f"{100 * noise:7.3g} %" for noise in medians.columns) + "  converged",
    ]
    for name, row in medians.iterrows():
        said = everything[everything.method == name].status
        converged = f"{int((said == 'CONVERGED').sum())}/{len(said)}" if (said != "").any() else ""
        lines.append(f"{name!s:30}" + "".join(f"{value:9.3f}" for value in row) + f"  {converged:>9}")
    lines.append(f"{inversions} inversions of the rules in {seconds:.0f} s with {size.jobs} process(es)")
    return "\n".join(lines)


OTHERS = ("trained decoder", "decoder as generator", "Adam, best weight of a grid")


def picture(everything: pd.DataFrame, size: Size) -> Figure:
    """Medians with bands: the study; then, beside the discrepancy principle on the same digits, all else that was tried."""
    figure = Figure(figsize=(11, 10), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    first = everything[(everything["sample"] < size.few) & (everything.seed == 0)]
    few = f"{size.few} digits"
    shown: list[tuple[str, tuple[str, ...], pd.DataFrame]] = [
        (f"total variation: {size.digits} digits, {size.seeds} seed(s)", size.rules, everything),
        (f"rules that walk over the weights: {few}", (size.rules[0], *size.walking), first),
        (f"methods that the discrepancy principle stops: {few}", (size.rules[0], *size.methods), first),
        (f"other ways: {few}", (size.rules[0], *OTHERS), first),
    ]
    for axis, (title, names, rows) in zip(panels.flat, shown, strict=True):
        for name in names:
            line(axis, rows, name)
        axis.set_title(title, fontsize=10)
        axis.set_xscale("symlog", linthresh=100 * min(noise for noise in size.noise if noise > 0))
        axis.set_xticks([100 * noise for noise in size.noise], [f"{100 * noise:g}" for noise in size.noise])
        axis.minorticks_off()
        axis.tick_params(labelbottom=True)
        axis.set_xlabel("noise / norm of the code (%)")
        axis.grid(alpha=0.3)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, fontsize=8.5, frameon=False)
    for axis in panels[:, 0]:
        axis.set_ylabel("||x - truth|| / ||truth||, median and middle half")
    return figure


def line(axis: Axes, everything: pd.DataFrame, name: str) -> None:
    errors = everything[everything.method == name].groupby("noise").error
    median = errors.median()
    (drawn,) = axis.plot(100 * median.index, median, "o-", markersize=4, label=name)
    axis.fill_between(100 * median.index, errors.quantile(0.25), errors.quantile(0.75), alpha=0.13, lw=0, color=drawn.get_color())


if __name__ == "__main__":
    main()
