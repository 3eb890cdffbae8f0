"""What the benchmarks share: how often is measured, where results go, and what this machine is."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch
from matplotlib.figure import Figure

T = TypeVar("T")


@dataclass(frozen=True)
class Curve:
    """How far above the least objective, relative to it, a method was after so many seconds."""

    label: str
    seconds: list[float]
    gaps: list[float]

    def until(self, gap: float) -> float | None:
        """Seconds until the gap was that small; None where it never was."""
        return next((s for s, g in zip(self.seconds, self.gaps, strict=True) if g <= gap), None)


@dataclass(frozen=True)
class Target:
    """A figure and what it is to be: at most ``bound``, or at least. ``value`` None: it was not reached at all."""

    name: str
    value: float | None
    bound: float
    at_least: bool

    @property
    def met(self) -> bool:
        return self.value is not None and (self.value >= self.bound if self.at_least else self.value <= self.bound)


def verdicts(targets: list[Target]) -> str:
    """One line for each."""
    lines = [f"{'':76}{'figure':>9}{'target':>15}"]
    for target in targets:
        value = "none" if target.value is None else f"{target.value:.3g}"
        sense = "at least" if target.at_least else "at most"
        lines.append(f"{target.name:76}{value:>9}{f'{sense} {target.bound:g}':>15}   {'met' if target.met else 'not met'}")
    return "\n".join(lines)


def stored_targets(folder: str | Path, names: list[str]) -> list[Target]:
    """Those in the JSON files of these benchmarks, in order."""
    reports = [json.loads((Path(folder) / f"{name}.json").read_text("utf-8")) for name in names]
    return [Target(**each) for report in reports for each in report.get("targets", [])]


def processor_timed(function: Callable[[], T]) -> tuple[T, float]:
    """With the seconds of the processor: of one thread they are those of the clock, but for what else the machine does."""
    began = time.process_time()
    result = function()
    return result, time.process_time() - began


def timed(function: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    result = function()
    return result, time.perf_counter() - began


def median_seconds(function: Callable[[], object], repeats: int) -> float:
    """The median of several calls, after one that is not counted."""
    function()
    return median(timed(function)[1] for _ in range(repeats))


def machine() -> dict[str, Any]:
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def write(name: str, report: dict[str, Any], folder: str | Path, figure: Figure | None = None) -> None:
    """``name``.json and .png in the folder, and their paths on the screen."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    if figure is not None:
        figure.savefig(target / f"{name}.png", dpi=130)
        print(target / f"{name}.png")
    (target / f"{name}.json").write_text(json.dumps({"machine": machine(), **report}, indent=2) + "\n", "utf-8")
    print(target / f"{name}.json")


def gaps_against_seconds(curves: list[Curve], title: str) -> Figure:
    """Both axes logarithmic, one line for each method."""
    figure = Figure(figsize=(7.0, 4.4), layout="constrained")
    axis = figure.subplots()
    for curve in curves:
        points = [(s, max(g, 1e-13)) for s, g in zip(curve.seconds, curve.gaps, strict=True) if s > 0]
        axis.plot([s for s, _ in points], [g for _, g in points], "o-", markersize=3, label=curve.label)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("seconds")
    axis.set_ylabel("(objective - minimum) / minimum")
    axis.set_title(title, fontsize=11)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure
