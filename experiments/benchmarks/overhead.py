"""What the solvers cost beside the network: seconds of an inversion over the seconds of its own network products.

Seconds of the processor, of one thread. The features are inverted once more with the search in float32.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

import netinverse as ni
from experiments.autoencoder import SMOKE, Settings, autoencoder
from experiments.benchmarks.measuring import Target, processor_timed, verdicts, write
from experiments.feature_inversion import astronaut
from experiments.resnet import SMOKE as RESNET_SMOKE
from experiments.resnet import Settings as ResnetSettings
from experiments.resnet import classifier
from netinverse.networks.derivative import NetworkDerivative
from netinverse.networks.graph import LiftedNetwork


@dataclass(frozen=True)
class Size:
    digits: int
    settings: Settings
    pictures: int
    pixels: int
    resnet: ResnetSettings
    tolerance: float
    repeats: int
    folder: str


SIZES = {
    "full": Size(50, Settings(), 8, 64, ResnetSettings(), 1e-2, 3, "out/benchmarks"),
    "smoke": Size(2, SMOKE, 1, 8, RESNET_SMOKE, 1e-1, 1, "out/benchmarks-smoke"),
}


@dataclass
class Products:
    """Calls and seconds of forward evaluations, derivatives and adjoints. A call inside another counts once."""

    calls: dict[str, int]
    seconds: dict[str, float]

    def wrap(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed_call(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return function(*args, **kwargs)
            self._inside = True
            began = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[kind] += time.process_time() - began
                self.calls[kind] += 1
                self._inside = False

        return timed_call

    _inside: bool = False


PLACES: dict[str, list[tuple[type, str]]] = {
    "forward": [(LiftedNetwork, "values")],
    "linearise": [(NetworkDerivative, "__init__")],
    "derivative": [(NetworkDerivative, "__call__")],
    "adjoint": [(NetworkDerivative, "adjoint")],
}


@contextmanager
def counted() -> Iterator[Products]:
    """Every product of a network with a derivative node by node is counted and timed where it happens."""
    products = Products(dict.fromkeys(PLACES, 0), dict.fromkeys(PLACES, 0.0))
    before = [(owner, name, getattr(owner, name)) for places in PLACES.values() for owner, name in places]
    try:
        for kind, places in PLACES.items():
            for owner, name in places:
                setattr(owner, name, products.wrap(kind, getattr(owner, name)))
        yield products
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def measure(
    name: str, lifted: LiftedNetwork, truth: Tensor, tolerance: float, repeats: int, precision: torch.dtype = torch.float64
) -> dict[str, Any]:
    """An inversion at 5 % noise: its seconds, those of its products, their ratio; of the repeat with the median ratio."""
    method, box = ni.Variational(precision=precision), ni.Box(0.0, 1.0)
    data, level = ni.add_noise(lifted(truth), relative=0.05, seed=0)
    found = []
    for _ in tqdm(range(repeats), desc=name, unit="repeat"):
        with counted() as products:
            result, seconds = processor_timed(
                lambda: ni.invert(lifted, data, method=method, noise_level=level, constraint=box, tolerance=tolerance)
            )
        found.append((seconds / sum(products.seconds.values()), seconds, products))
    ratio, seconds, products = sorted(found, key=lambda each: each[0])[(repeats - 1) // 2]
    return {
        "network": name,
        "batch": len(truth),
        "seconds": seconds,
        "products": sum(products.seconds.values()),
        "ratio": ratio,
        "calls": products.calls,
        "seconds_of": products.seconds,
        "converged": sum(status is ni.Status.CONVERGED for status in result.status),
    }


def main(size: str = "full", out: str | Path | None = None) -> list[dict[str, Any]]:
    """Print the table; write ``overhead.json`` to ``out``. Returns the rows."""
    chosen = SIZES[size]
    network = autoencoder(chosen.settings)
    digits = network.held_out[: chosen.digits].double()
    encoder = ni.lift(network.encoder.double(), digits[:1])
    resnet = classifier(chosen.resnet).network.double()
    shift = torch.linspace(0, 0.2, chosen.pictures).reshape(-1, 1, 1, 1)
    pictures = (astronaut(chosen.pixels).double() * (1 - shift) + shift / 2).contiguous()
    features = ni.lift(resnet, pictures[:1], output="layer1")
    in_double = [
        measure("digit encoder", encoder, digits, chosen.tolerance, chosen.repeats),
        measure("residual network, layer1", features, pictures, chosen.tolerance, chosen.repeats),
    ]
    in_single = measure("the same, search in float32", features, pictures, chosen.tolerance, chosen.repeats, torch.float32)
    reached = [
        Target(
            f"P3: seconds of an inversion / of its products, {row['network']}, batch {row['batch']}", row["ratio"], 1.25, False
        )
        for row in in_double
    ]
    rows = [*in_double, in_single]
    print(table(rows))
    print(verdicts(reached))
    write("overhead", {"size": size, "rows": rows, "targets": [asdict(each) for each in reached]}, out or chosen.folder)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'':28}{'batch':>6}{'seconds':>9}{'products':>10}{'ratio':>7}   forward, linearise, derivative, adjoint"]
    for row in rows:
        calls = ", ".join(f"{row['calls'][kind]}" for kind in PLACES)
        seconds = f"{row['seconds']:9.2f}{row['products']:10.2f}{row['ratio']:7.2f}"
        lines.append(f"{row['network']:28}{row['batch']:6}{seconds}   {calls}")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="full")
    main(parser.parse_args().size)
