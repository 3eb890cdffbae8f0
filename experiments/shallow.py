"""Inverting networks of one number: 25 ReLU units behind a scalar, and a residual network that convexity makes invertible."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm import tqdm

import netinverse as ni
from experiments import stored
from netinverse.lifting.convexity import form_with_states, least_rho, least_weight

UNITS, STEP, ALPHA = 25, 3 / 50, 1e-4


@dataclass(frozen=True)
class Settings:
    """All that decides the trained residual networks."""

    layers: int = 20
    width: int = 8
    points: int = 201
    steps: int = 3000
    learning_rate: float = 1e-2
    spread: float = 0.2
    seed: int = 0


@dataclass(frozen=True)
class Size:
    inputs: int
    seeds: int
    noise: tuple[float, ...]
    settings: Settings
    pairs: int
    folder: str


SIZES = {
    "full": Size(151, 20, (0.0, 0.003, 0.03), Settings(), 100_000, "out/shallow"),
    "smoke": Size(11, 2, (0.0, 0.03), Settings(layers=4, steps=100), 100, "out/shallow-smoke"),
}


class Residual(nn.Module):
    """u + sign W^T relu(W u + b): the identity plus (or minus) the gradient of the convex function 1/2||relu(W u + b)||^2."""

    def __init__(self, width: int, sign: float, spread: float) -> None:
        super().__init__()
        self.affine = nn.Linear(1, width, dtype=torch.float64)
        self.affine.weight.data *= spread
        self.affine.bias.data = -spread * self.affine.bias.data.abs()
        self.sign = sign

    def forward(self, u: Tensor) -> Tensor:
        return u + self.sign * nn.functional.linear(torch.relu(self.affine(u)), self.affine.weight.T)


def residual_network(settings: Settings, sign: float) -> nn.Sequential:
    return nn.Sequential(*(Residual(settings.width, sign, settings.spread) for _ in range(settings.layers)))


def fitted(settings: Settings, sign: float, folder: str | Path = "out/models") -> nn.Module:
    """Fitted on [-1, 1] to ``target``."""
    u = torch.linspace(-1, 1, settings.points, dtype=torch.float64)[:, None]
    goal = target(u, sign)

    def train(model: nn.Module) -> None:
        optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
        for _ in tqdm(range(settings.steps), desc=f"fitting {'plus' if sign > 0 else 'minus'} layers", unit="step"):
            optimiser.zero_grad()
            (model(u) - goal).square().mean().backward()
            optimiser.step()
            schedule.step()

    name = "residual-plus" if sign > 0 else "residual-minus"
    return stored.trained(name, settings, lambda: residual_network(settings, sign), train, folder)


def target(u: Tensor, sign: float) -> Tensor:
    """u^3 + u for plus layers; for minus layers sin(3u)/3, whose slope is at most 1, as theirs is, and which is not monotone."""
    return u**3 + u if sign > 0 else torch.sin(3 * u) / 3


def units() -> nn.Sequential:
    """x -> relu(x - (j - 1) h), j = 1 .. 25."""
    affine = nn.Linear(1, UNITS, dtype=torch.float64)
    affine.weight.data = torch.ones(UNITS, 1, dtype=torch.float64)
    affine.bias.data = -STEP * torch.arange(UNITS, dtype=torch.float64)
    return nn.Sequential(affine, nn.ReLU()).eval().requires_grad_(False)


def single_layer(size: Size) -> dict[str, Any]:
    """Errors of the inversion of one layer at weight 1e-4, (noise, inputs): the root mean square over the seeds."""
    network = units()
    x = torch.linspace(-0.25, 1.75, size.inputs, dtype=torch.float64)[:, None]
    clean = network(x)
    errors, unfinished = [], 0
    for sigma in size.noise:
        noisy = [ni.add_noise(clean, sigma=sigma, seed=seed) for seed in range(size.seeds if sigma > 0 else 1)]
        result = ni.invert(
            network,
            torch.cat([data for data, _ in noisy]),
            input_shape=1,
            noise_level=torch.cat([level for _, level in noisy]),
            regulariser=ni.Tikhonov(),
            rule=ni.Fixed(ALPHA),
        )
        unfinished += sum(status is not ni.Status.CONVERGED for status in result.status)
        error = result.x.reshape(len(noisy), -1) - x[:, 0]
        errors.append(error.square().mean(0).sqrt().tolist())
    active = (clean > 0).sum(1)
    return {
        "inputs": x[:, 0].tolist(),
        "active": active.tolist(),
        "noise": list(size.noise),
        "error": errors,
        "unfinished": unfinished,
    }


def convexity(layers: int) -> dict[str, Any]:
    """What makes the lifted energy of a chain of plus layers convex, with numbers from the eigenvalues of Q."""

    def least(weight: float, rho: float) -> float:
        return float(torch.linalg.eigvalsh(form_with_states(layers, weight, rho))[0])

    def root(inside: Any, low: float, high: float) -> float:
        """Where ``inside`` turns true, by bisection."""
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (low, middle) if inside(middle) else (middle, high)
        return high

    formula = least_rho(layers)
    return {
        "layers": layers,
        "rho_formula": formula,
        "rho_from_eigenvalues": root(lambda rho: least(1.0, rho) >= 0, 0.1, 1e6),
        "least_eigenvalue_at_the_formula": least(1.0, formula),
        "weight_formula": least_weight(layers),
        "weight_from_eigenvalues": root(lambda weight: least(weight, math.inf) >= 0, 0.0, 2.0),
    }


def residual(model: nn.Module, sign: float, size: Size) -> dict[str, Any]:
    """Fit, least ratio of output to input distances, and the inversion of the network's own outputs."""
    grid = torch.linspace(-1, 1, size.settings.points, dtype=torch.float64)[:, None]
    generator = torch.Generator().manual_seed(0)
    pairs = 3 * torch.rand(2, size.pairs, 1, generator=generator, dtype=torch.float64) - 1.5
    outputs = model(pairs.flatten(0, 1)).reshape(pairs.shape)
    ratio = ((outputs[0] - outputs[1]).abs() / (pairs[0] - pairs[1]).abs()).min()
    x = torch.linspace(-1, 1, 41, dtype=torch.float64)[:, None]
    result = ni.invert(model, model(x), input_shape=1, noise_level=0.0, regulariser=ni.Tikhonov(), rule=ni.Fixed(1e-8))
    values = model(grid)
    apart = torch.where((grid - grid.T).abs() < 0.5, torch.inf, (values - values.T).abs())
    i, j = divmod(int(apart.argmin()), len(grid))
    return {
        "fit": float((values - target(grid, sign)).abs().max()),
        "least_ratio": float(ratio),
        "least_slope": float((values.diff(dim=0) / grid.diff(dim=0)).min()),
        "inversion_error": float((result.x - x).abs().max()),
        "wrong": int(((result.x - x).abs() > 0.1).sum()),
        "output_error": float((model(result.x) - model(x)).abs().max()),
        "nearest_outputs": {"inputs": [float(grid[i]), float(grid[j])], "outputs": [float(values[i]), float(values[j])]},
        "curve": {"inputs": grid[:, 0].tolist(), "outputs": values[:, 0].tolist()},
        "inverted": {"truth": x[:, 0].tolist(), "data": model(x)[:, 0].tolist(), "found": result.x[:, 0].tolist()},
    }


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``single_layer.png``, ``residual.png``, ``result.json`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    report: dict[str, Any] = {"size": size, "single_layer": single_layer(chosen), "convexity": convexity(chosen.settings.layers)}
    for name, sign in (("plus", 1.0), ("minus", -1.0)):
        report[name] = residual(fitted(chosen.settings, sign), sign, chosen)
    print(table(report))
    folder = Path(out or chosen.folder)
    folder.mkdir(parents=True, exist_ok=True)
    errors(report["single_layer"]).savefig(folder / "single_layer.png", dpi=130)
    graphs(report).savefig(folder / "residual.png", dpi=130)
    (folder / "result.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print("\n".join(str(folder / name) for name in ("single_layer.png", "residual.png", "result.json")))
    return report


def table(report: dict[str, Any]) -> str:
    layer, convex = report["single_layer"], report["convexity"]
    lines = [f"{UNITS} ReLU units behind one number, weight {ALPHA:g}: root mean square error over the inputs"]
    inputs, active = np.array(layer["inputs"]), np.array(layer["active"])
    lines.append(f"{'noise per unit':>16}{'no unit active':>16}{'1 .. 5 active':>15}{'6 .. 24 active':>16}{'all active':>12}")
    groups = (active == 0, (active > 0) & (active < 6), (active > 5) & (active < UNITS), active == UNITS)
    for sigma, error in zip(layer["noise"], layer["error"], strict=True):
        parts = [np.array(error)[group] for group in groups]
        values = [f"{np.sqrt((p**2).mean()):.2e}" if len(p) else "-" for p in parts]
        lines.append(f"{sigma:>16g}{values[0]:>16}{values[1]:>15}{values[2]:>16}{values[3]:>12}")
    lines.append(f"inputs from {inputs.min():g} to {inputs.max():g}; {layer['unfinished']} inversions without status CONVERGED")
    lines.append(
        f"{convex['layers']} plus layers, lambda = 1: convex from rho = {convex['rho_formula']:.1f} by the formula, "
        f"{convex['rho_from_eigenvalues']:.1f} by the least eigenvalue of Q "
        f"({convex['least_eigenvalue_at_the_formula']:.1e} there)"
    )
    lines.append(
        f"rho without end: convex from lambda = {convex['weight_formula']:.6f} by the formula, "
        f"{convex['weight_from_eigenvalues']:.6f} by the eigenvalue"
    )
    for name, goal in (("plus", "u^3 + u"), ("minus", "sin(3u)/3")):
        part = report[name]
        a, b = part["nearest_outputs"]["inputs"]
        c, d = part["nearest_outputs"]["outputs"]
        lines.append(
            f"{name} layers fitted to {goal} within {part['fit']:.1e}: least |N(x) - N(x')|/|x - x'| {part['least_ratio']:.4f}; "
            f"inverted: {part['wrong']}/{len(part['inverted']['truth'])} inputs wrong by more than 0.1, "
            f"worst {part['inversion_error']:.1e}, worst output {part['output_error']:.1e}; "
            f"N({a:.2f}) = {c:.4f}, N({b:.2f}) = {d:.4f}"
        )
    return "\n".join(lines)


def errors(layer: dict[str, Any]) -> Figure:
    """The error against the input, and sigma/sqrt(active units), what least squares would leave."""
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axis = figure.subplots()
    x, active = np.array(layer["inputs"]), np.array(layer["active"])
    for number, (sigma, error) in enumerate(zip(layer["noise"], layer["error"], strict=True)):
        label = f"noise {sigma:g} per unit" if sigma > 0 else "no noise"
        axis.semilogy(x, error, "-", color=f"C{number}", label=label)
        if sigma > 0:
            counted = np.where(active > 0, active, np.nan)
            axis.semilogy(x, sigma / np.sqrt(counted), ":", color=f"C{number}", label=f"{sigma:g} / sqrt(active units)")
    axis.axvspan(x.min(), 0, color="0.92", zorder=0)
    axis.text(x.min() / 2, 0.03, "no unit\nactive", transform=axis.get_xaxis_transform(), ha="center", fontsize=9, color="0.4")
    axis.set(xlabel="input", ylabel="error of the inverted input (root mean square)", xlim=(x.min(), x.max()))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, frameon=False, loc="upper right")
    return figure


def graphs(report: dict[str, Any]) -> Figure:
    """The two residual networks with what inverting their outputs gave: on the graph, and at the right input or not."""
    figure = Figure(figsize=(9.6, 4.7), layout="constrained")
    axes = figure.subplots(1, 2)
    said = {"plus": "u + W'relu(Wu + b), to u^3 + u", "minus": "u - W'relu(Wu + b), to sin(3u)/3"}
    for axis, name in zip(axes, said, strict=True):
        _graph(axis, report[name])
        axis.set_title(f"{report['convexity']['layers']} layers {said[name]}", fontsize=10)
    axes[0].set_ylabel("output")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _graph(axis: Axes, part: dict[str, Any]) -> None:
    axis.plot(part["curve"]["inputs"], part["curve"]["outputs"], "-", color="0.3", label="network")
    truth, found, data = (np.array(part["inverted"][name]) for name in ("truth", "found", "data"))
    right = np.abs(found - truth) <= 0.1
    axis.plot(found[right], data[right], "o", color="C0", ms=4, label="inverted, the right input")
    axis.plot(found[~right], data[~right], "x", color="C3", ms=6, label="inverted, another input")
    near = part["nearest_outputs"]
    axis.plot(near["inputs"], near["outputs"], "k--", lw=0.9, label="nearest outputs of inputs 0.5 apart or more")
    axis.set_xlabel("input")
    axis.grid(alpha=0.3)


if __name__ == "__main__":
    main()
