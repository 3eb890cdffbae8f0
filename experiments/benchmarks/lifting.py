"""What lifting costs: seconds, memory beside the model's own, and the lifted call against the model's forward."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

import netinverse as ni


@dataclass(frozen=True)
class Size:
    width: int
    pixels: int
    batches: tuple[int, ...]
    repeats: int
    folder: str


SIZES = {
    "full": Size(64, 224, (1, 8), 15, "out/benchmarks"),
    "smoke": Size(8, 32, (1, 2), 3, "out/benchmarks-smoke"),
}


class BasicBlock(nn.Module):
    """The block of ResNet-18: He, Zhang, Ren & Sun, CVPR 2016."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        narrow = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.downsample = None if stride == 1 else narrow

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += identity
        summed: Tensor = self.relu(out)
        return summed


def resnet18(width: int) -> nn.Sequential:
    """ResNet-18, whose first layer has ``width`` channels; 64 in the original."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    layers.append(nn.MaxPool2d(3, 2, 1))
    channels = width
    for stage in range(4):
        out = width * 2**stage
        layers += [BasicBlock(channels, out, 1 if stage == 0 else 2), BasicBlock(out, out, 1)]
        channels = out
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000)]
    return nn.Sequential(*layers).eval().requires_grad_(False)


def added_bytes(lifted: nn.Module, model: nn.Module) -> int:
    """Bytes of the tensors of ``lifted`` that lie in no storage of ``model``."""
    shared = {tensor.untyped_storage().data_ptr() for tensor in _tensors(model)}
    added = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in _tensors(lifted)}
    return sum(size for place, size in added.items() if place not in shared)


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def resident_bytes() -> int:
    """The resident memory of this process, from /proc; 0 where there is none."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return 0
    return pages * 4096


def ratio(first: Callable[[], object], second: Callable[[], object], repeats: int) -> tuple[float, float, float]:
    """Median seconds of both, measured in turns after a warm-up, and the median of their ratios pair by pair."""
    first()
    second()
    times = []
    for _ in tqdm(range(repeats), desc="calls", unit="pair", leave=False):
        began = time.perf_counter()
        first()
        between = time.perf_counter()
        second()
        times.append((between - began, time.perf_counter() - between))
    return median(a for a, _ in times), median(b for _, b in times), median(a / b for a, b in times)


@dataclass(frozen=True)
class Call:
    batch: int
    lifted_seconds: float
    model_seconds: float
    ratio: float


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``lifting.json`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    torch.manual_seed(0)
    model = resnet18(chosen.width)
    example = torch.randn(2, 3, chosen.pixels, chosen.pixels)
    ni.lift(nn.Linear(2, 2).eval(), torch.zeros(2, 2))  # what torch.export loads once
    model(example)
    began, processor = time.perf_counter(), time.process_time()
    lifted = ni.lift(model, example)
    seconds, processor_seconds = time.perf_counter() - began, time.process_time() - processor
    # The first lift also loads code and grows the allocator's reserve; two more show what one adds.
    before = resident_bytes()
    more = [ni.lift(model, example) for _ in range(2)]
    resident = (resident_bytes() - before) / len(more)
    own = sum(tensor.untyped_storage().nbytes() for tensor in _tensors(model))
    calls = []
    with torch.no_grad():
        for batch in chosen.batches:
            x = torch.randn(batch, 3, chosen.pixels, chosen.pixels)
            torch.testing.assert_close(lifted(x), model(x), rtol=1e-4, atol=1e-4)
            measured = ratio(partial(lifted, x), partial(model, x), chosen.repeats)
            calls.append(Call(batch, *measured))
    report: dict[str, Any] = {
        "size": size,
        "nodes": len(lifted.nodes),
        "is_exactly_lifted": lifted.is_exactly_lifted,
        "seconds_to_lift": seconds,
        "processor_seconds_to_lift": processor_seconds,
        "model_bytes": own,
        "added_share": added_bytes(lifted, model) / own,
        "resident_growth_share": resident / own,
        "calls": [asdict(call) for call in calls],
    }
    exactly = "exactly" if lifted.is_exactly_lifted else "not exactly"
    print(f"ResNet-18 of width {chosen.width} at 3x{chosen.pixels}x{chosen.pixels}: {len(lifted.nodes)} nodes, {exactly} lifted")
    print(f"{'seconds to lift':44}{seconds:10.2f}   ({processor_seconds:.2f} of the processor)")
    print(f"{'tensors added, share of the model':44}{100 * report['added_share']:9.2f} %")
    print(f"{'resident memory added, share of the model':44}{100 * report['resident_growth_share']:9.2f} %")
    for call in calls:
        label = f"lifted call / model's forward, batch {call.batch}"
        print(f"{label:44}{call.ratio:10.2f}   ({call.lifted_seconds:.4f} s / {call.model_seconds:.4f} s)")
    folder = Path(out or chosen.folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lifting.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print(folder / "lifting.json")
    return report


if __name__ == "__main__":
    main()
