"""The source code of a module, drawn line by line. A failing example prints itself as such."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.networks.zoo import randomise

T = TypeVar("T")
Shape = tuple[int, ...]

LARGEST = 300
"""No value has more entries a sample."""


@dataclass(frozen=True)
class Drawn:
    """A module in source and alive, in float64 and evaluation mode. ``trace`` returns the value of every line."""

    source: str
    input_shape: Shape
    operators: tuple[str, ...]

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """How Hypothesis prints a failing example."""
        printer.text(f"input {self.input_shape}\n{self.source}")

    def model(self, dtype: torch.dtype = torch.float64) -> Any:
        namespace: dict[str, Any] = {"torch": torch, "nn": nn, "F": F}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            exec(compile(self.source, "<drawn network>", "exec"), namespace)
            module: nn.Module = namespace["Network"]()
            randomise(module)
        return module.to(dtype).eval()


class Writer:
    """Writes a network; keeps the values of a probe, so that the next line is drawn for shapes as they are."""

    def __init__(self, draw: st.DrawFn, input_shape: Shape) -> None:
        self.draw = draw
        self.input_shape = input_shape
        self.init: list[str] = []
        self.lines: list[str] = []
        self.operators: list[str] = []
        self.probe = torch.linspace(-1, 1, 2 * math.prod(input_shape), dtype=torch.float64).reshape(2, *input_shape)
        self.values: dict[str, Tensor] = {"x": self.probe}
        self.module = nn.Module().eval()
        self.held_so_far = 0

    def one_of(self, *options: T) -> T:
        return self.draw(st.sampled_from(options))

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def axis(self, shape: Shape) -> int:
        """Not that of the batch; counted from the front or from the back."""
        axis = self.integer(1, len(shape))
        return self.one_of(axis, axis - len(shape) - 1)

    def order(self, shape: Shape) -> list[int]:
        """The axes but the batch's in any order."""
        return self.draw(st.permutations(range(1, len(shape) + 1)))

    def held(self, constructor: str, then: str = "") -> str:
        """A submodule; ``then`` is done to it once."""
        self.held_so_far += 1
        name = f"self.m{self.held_so_far}"
        self.init.append(f"{name} = {constructor}" + (f"; {name}{then}" if then else ""))
        return name

    def constant(self, *shape: int) -> str:
        self.held_so_far += 1
        name = f"c{self.held_so_far}"
        self.init.append(f'self.register_buffer("{name}", torch.randn({shape}) / {max(shape[-1:], default=1)} ** 0.5)')
        return f"self.{name}"

    def partner(self, name: str, fits: Callable[[Shape, Shape], bool] = lambda a, b: a == b) -> str | None:
        """Another value, whose shape fits, the latest first; None where there is none."""
        shape = self.shape(name)
        found = [other for other in reversed(self.values) if other != name and fits(self.shape(other), shape)]
        return self.one_of(*found) if found else None

    def shape(self, name: str) -> Shape:
        return tuple(self.values[name].shape[1:])

    def may_change(self, name: str) -> bool:
        """Whether an operator may work in place on it: it has memory of its own, which is not that of the input."""
        value = self.values[name]
        return value.is_contiguous() and value.untyped_storage().data_ptr() != self.probe.untyped_storage().data_ptr()

    def write(self, operators: Mapping[str, Operator], source: str) -> bool:
        """Add a line v = operator(source). False where it does not apply, or is too large, empty or infinite: no line."""
        kept = len(self.init)
        operator = self.one_of(*operators)
        expression = operators[operator](self, source, self.shape(source))
        used = set(re.findall(r"self\.(\w+)", expression or ""))
        self.init[kept:] = [line for line in self.init[kept:] if used & set(re.findall(r"\b[cm]\d+\b", line))]
        value = None if expression is None else self._value(expression, self.init[kept:])
        if value is None or value.ndim < 2 or not 0 < value[0].numel() <= LARGEST or not value.isfinite().all():
            del self.init[kept:]
            return False
        name = f"v{len(self.lines)}"
        self.values[name] = value
        self.lines.append(f"{name} = {expression}")
        self.operators.append(operator)
        return True

    def _value(self, expression: str, init: Sequence[str]) -> Tensor | None:
        """What the expression gives of the probe; None where torch refuses it."""
        names = {"torch": torch, "F": F, "nn": nn, "self": self.module, **self.values}
        try:
            with torch.no_grad(), torch.random.fork_rng():
                torch.manual_seed(0)
                for line in init:
                    exec(line, names)
                self.module.double().eval()
                value: Tensor = eval(expression, names)
                return value
        except (RuntimeError, ValueError, IndexError):
            return None

    def finished(self, output: str) -> Drawn:
        source = [
            "class Network(nn.Module):",
            "    def __init__(self):",
            "        super().__init__()",
            *(f"        {line}" for line in self.init),
            "    def trace(self, x):",
            *(f"        {line}" for line in self.lines),
            f"        return {', '.join(self.values)}",
            "    def forward(self, x):",
            *(f"        {line}" for line in self.lines),
            f"        return {output}",
        ]
        return Drawn("\n".join(source), self.input_shape, tuple(self.operators))


Operator = Callable[[Writer, str, Shape], str | None]
"""The expression of a new value made of the value of this name and shape, or None where it does not apply."""


def divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]


def is_image(shape: Shape) -> bool:
    """Channels and one, two or three axes."""
    return 2 <= len(shape) <= 4
