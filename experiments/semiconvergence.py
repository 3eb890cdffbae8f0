"""Error against iteration of three methods that regularise by stopping, and where each rule stops them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

import netinverse as ni
from experiments.benchmarks.perceptron import Case
from experiments.rates import layer

RULES: dict[str, Any] = {
    "discrepancy principle": ni.DiscrepancyPrinciple(),
    "Lepskii": ni.Lepskii(),
    "quasi-optimality": ni.QuasiOptimality(),
    "L-curve": ni.LCurve(),
    "Hanke-Raus": ni.HankeRaus(),
}


DECADES = 1.5
"""Between the largest and the least singular value of the layer."""


@dataclass(frozen=True)
class Size:
    side: int
    rows: int
    relative_noise: float
    methods: dict[str, Any]
    folder: str


SIZES = {
    "full": Size(
        16,
        640,
        0.1,
        {
            "Landweber": ni.Landweber(max_iterations=10_000),
            "Bregman iteration": ni.BregmanIteration(max_iterations=40),
            "linearised Bregman": ni.LinearisedBregman(max_iterations=3000),
        },
        "out/semiconvergence",
    ),
    "smoke": Size(
        8,
        160,
        0.05,
        {
            "Landweber": ni.Landweber(max_iterations=60),
            "Bregman iteration": ni.BregmanIteration(max_iterations=8),
            "linearised Bregman": ni.LinearisedBregman(max_iterations=60),
        },
        "out/semiconvergence-smoke",
    ),
}


@dataclass(frozen=True)
class Watching(ni.Fixed):
    """A rule that is never met, so that the method goes on to its last iterate, and that keeps what a rule may read."""

    traces: list[ni.Trace] = field(default_factory=list)

    def pick(self, trace: ni.Trace, noise_level: Tensor | None = None) -> Any:
        self.traces.append(trace)
        return super().pick(trace, noise_level)


@dataclass(frozen=True)
class Stop:
    """Where a rule stops a method; ``error`` relative to the truth, ``behind`` over the least of all iterates."""

    method: str
    rule: str
    iteration: int
    error: float
    behind: float
    residual_over_level: float
    status: str


@dataclass(frozen=True)
class Curve:
    """Relative error and residual over the noise level at iterations 1, 2, ..."""

    method: str
    error: list[float]
    residual_over_level: list[float]
    seconds: float


def run(name: str, method: Any, network: torch.nn.Module, truth: Tensor, size: Size) -> tuple[Curve, list[Stop]]:
    """All iterates of a method in one run, and the one that each rule picks among them."""
    data, noise_level = ni.add_noise(network(truth), relative=size.relative_noise, seed=0)
    watching = Watching(1e-30)
    result = ni.invert(
        network,
        data,
        input_shape=tuple(truth.shape[1:]),
        noise_level=noise_level,
        regulariser=ni.TotalVariation(),
        rule=watching,
        method=method,
        tolerance=1e-5,
    )
    (trace,) = watching.traces
    assert trace.x is not None and result.noise_level is not None
    level = result.noise_level
    error = (trace.x[:, 0] - truth[0]).flatten(1).norm(dim=1) / truth.norm()
    residual = trace.residual[:, 0] / level
    numbers = result.history["step"].tolist()
    stops = []
    for rule_name, rule in RULES.items():
        pick = rule.pick(trace, level)
        i = int(pick.index)
        stops.append(
            Stop(
                method=name,
                rule=rule_name,
                iteration=numbers[i],
                error=float(error[i]),
                behind=float(error[i] / error.min()),
                residual_over_level=float(residual[i]),
                status=pick.verdict[0].name,
            )
        )
    return Curve(name, error.tolist(), residual.tolist(), result.seconds), stops


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``semiconvergence.png`` and ``result.json`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    network = layer("ReLU", chosen.rows, chosen.side**2, DECADES, seed=0)
    truth = Case(chosen.side).truth()
    curves: list[Curve] = []
    stops: list[Stop] = []
    for name, method in tqdm(chosen.methods.items(), desc="methods", unit="method"):
        curve, found = run(name, method, network, truth, chosen)
        curves.append(curve)
        stops += found
    report = {
        "size": size,
        "relative_noise": chosen.relative_noise,
        "curves": [asdict(curve) for curve in curves],
        "stops": [asdict(stop) for stop in stops],
    }
    print(table(curves, stops, chosen))
    folder = Path(out or chosen.folder)
    folder.mkdir(parents=True, exist_ok=True)
    picture(curves, stops).savefig(folder / "semiconvergence.png", dpi=130)
    (folder / "result.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print("\n".join(str(folder / name) for name in ("semiconvergence.png", "result.json")))
    return report


def table(curves: list[Curve], stops: list[Stop], size: Size) -> str:
    lines = [
        f"{size.side}x{size.side} picture behind a ReLU layer of {size.rows} outputs, {100 * size.relative_noise:g} % noise",
        f"{'method':20}{'rule':24}{'iteration':>10}{'error':>9}{'error/least':>13}{'residual/level':>16}  status",
    ]
    for curve in curves:
        least = min(range(len(curve.error)), key=curve.error.__getitem__)
        lines.append(
            f"{curve.method:20}{'(least error)':24}{least + 1:>10}{curve.error[least]:>9.4f}{1:>13.3f}"
            f"{curve.residual_over_level[least]:>16.3f}  {len(curve.error)} iterations in {curve.seconds:.1f} s, "
            f"the last with an error of {curve.error[-1]:.4f}"
        )
        for stop in (stop for stop in stops if stop.method == curve.method):
            lines.append(
                f"{'':20}{stop.rule:24}{stop.iteration:>10}{stop.error:>9.4f}{stop.behind:>13.3f}"
                f"{stop.residual_over_level:>16.3f}  {stop.status}"
            )
    return "\n".join(lines)


def picture(curves: list[Curve], stops: list[Stop]) -> Figure:
    """A column for each method: error above with the rules' stops, residual below with the noise level."""
    figure = Figure(figsize=(3.6 * len(curves) + 0.4, 5.6), layout="constrained")
    axes = figure.subplots(2, len(curves), squeeze=False, sharex="col", sharey="row", height_ratios=(3, 2))
    for (above, below), curve in zip(axes.T, curves, strict=True):
        iterations = range(1, len(curve.error) + 1)
        above.loglog(iterations, curve.error, "-", color="0.3")
        below.loglog(iterations, curve.residual_over_level, "-", color="0.3")
        below.axhline(1.0, color="0.5", lw=0.8, ls="--", label="noise level left")
        least = min(range(len(curve.error)), key=curve.error.__getitem__)
        above.axhline(curve.error[least], color="0.7", lw=0.8, ls=":", label="least error")
        here = [stop for stop in stops if stop.method == curve.method]
        for stop, marker, colour in zip(here, "osD^v", ("C0", "C1", "C2", "C3", "C4"), strict=True):
            looks = {"color": colour, "ms": 8, "ls": "none", "mfc": "none", "mew": 1.8}
            above.plot(stop.iteration, stop.error, marker, label=stop.rule, **looks)
            below.plot(stop.iteration, stop.residual_over_level, marker, **looks)
        above.set_title(curve.method, fontsize=11)
        below.set_xlabel("iteration")
        for axis in (above, below):
            axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("relative error")
    axes[1][0].set_ylabel("residual / noise level")
    lines = {str(line.get_label()): line for axis in axes[:, 0] for line in axis.get_lines()}
    shown = {label: line for label, line in lines.items() if not label.startswith("_")}
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    return figure


if __name__ == "__main__":
    main()
