"""Where an operator comes from: the module it ran in and the line of source that called it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from netinverse.networks.affine import operator_name


@dataclass(frozen=True)
class Origin:
    """Where a node comes from: the operator, the module it ran in, and the line of source that called it."""

    operator: str = ""
    module: str = ""
    line: str = ""

    def __str__(self) -> str:
        place = f" in {self.module}" if self.module else ""
        return f"{self.operator}{place}" + (f" ({self.line})" if self.line else "")


def modules_of(node: fx.Node) -> list[str]:
    """The names of the modules within which an operator runs, the innermost last; calls are not told apart."""
    return [str(name).split("@")[0] for name, _ in node.meta.get("nn_module_stack", {}).values() if name]


def modules_in(graph: fx.Graph) -> list[str]:
    return list(dict.fromkeys(name for node in graph.nodes for name in modules_of(node))) or ["name"]


def origin_of(node: fx.Node) -> Origin:
    """Operator, module and line of source: the last line outside torch itself."""
    lines = [line.strip() for line in node.meta.get("stack_trace", "").splitlines() if line.strip().startswith("File ")]
    own = [line for line in lines if "/torch/" not in line] or lines
    parts = own[-1].split(", ") if own else []
    line = (
        f"{parts[0].removeprefix('File ').strip(chr(34)).split('/')[-1]}:{parts[1].removeprefix('line ')}"
        if len(parts) > 1
        else ""
    )
    stack = modules_of(node)
    return Origin(operator_name(node.target) if callable(node.target) else str(node.target), stack[-1] if stack else "", line)
