"""Small mistakes, as cosmic-ray makes them: one operator, comparison, number or keyword of a file replaced."""

from __future__ import annotations

import ast
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ALIKE = (
    {"Add", "Sub", "Mul", "Div", "Pow", "FloorDiv", "Mod"},
    {"BitOr", "BitAnd", "BitXor"},
    {"Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"},
    {"Is", "IsNot"},
)
"""Operators that take one another's place; a shift in the place of a sum is an error at the first test, which shows nothing."""


@dataclass(frozen=True)
class Mutant:
    """One replacement: the ``occurrence``-th that the operator can make in the file."""

    path: str
    start: tuple[int, int]
    end: tuple[int, int]
    operator: str
    occurrence: int

    @property
    def module(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def source(self) -> str | None:
        """The file with the replacement; None where that is no Python (a star of a signature is no product)."""
        code = mutate_code(Path(self.path).read_text(), get_operator(self.operator)(), self.occurrence)
        try:
            compile(code, self.path, "exec")
        except SyntaxError:
            return None
        return str(code)

    def __str__(self) -> str:
        before, after = Path(self.path).read_text().splitlines(), (self.source() or "").splitlines()
        at, name = self.start[0] - 1, self.operator.removeprefix("core/")
        return f"{self.path}:{at + 1} {name}\n    - {before[at].strip()}\n    + {after[at].strip()}"


def compares(operator: str) -> bool:
    """Whether the operator needs no arguments, makes something that is not always an error, and makes nothing twice."""
    found = re.fullmatch(r"core/Replace(?:Binary|Comparison)Operator_([A-Za-z]+)_([A-Za-z]+)", operator)
    if found is not None:
        return any(set(found.groups()) <= group for group in ALIKE)
    return not re.match(r"core/(Variable|ReplaceUnaryOperator_(?!Delete))", operator)


def annotations(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where the types stand, which nothing evaluates."""
    found: list[ast.expr | None] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arg | ast.AnnAssign):
            found.append(node.annotation)
        elif isinstance(node, ast.FunctionDef):
            found.append(node.returns)
    return [((e.lineno, e.col_offset), (e.end_lineno or 0, e.end_col_offset or 0)) for e in found if e is not None]


def mutants(path: str) -> Iterator[Mutant]:
    """All mutants of a file."""
    source = Path(path).read_text()
    nodes, types = list(ast_nodes(get_ast(source))), annotations(source)
    for name in filter(compares, sorted(operator_names())):
        operator = get_operator(name)()
        positions = (position for node in nodes for position in operator.mutation_positions(node))
        for occurrence, (start, end) in enumerate(positions):
            if not any(first <= start and end <= last for first, last in types):
                yield Mutant(path, start, end, name, occurrence)


def drawn(rooms: list[str], sample: int, seed: int) -> list[Mutant]:
    """So many places, all alike, and one mutant of each."""
    places: dict[tuple[str, tuple[int, int]], list[Mutant]] = defaultdict(list)
    for room in rooms:
        for path in sorted(Path("netinverse", room).glob("*.py")):
            for mutant in mutants(str(path)):
                places[str(path), mutant.start].append(mutant)
    print(f"{sum(map(len, places.values()))} mutants at {len(places)} places", flush=True)
    draw = random.Random(seed)
    order = draw.sample(sorted(places), len(places))
    chosen = (draw.choice(places[place]) for place in order)
    return [mutant for mutant, _ in zip((each for each in chosen if each.source()), range(sample), strict=False)]


def inside_a_function(mutant: Mutant) -> bool:
    """Whether it is in the body of one, so that nothing of it runs while the module is imported."""
    functions = (node for node in ast.walk(ast.parse(Path(mutant.path).read_text())) if isinstance(node, ast.FunctionDef))
    return any(node.body[0].lineno <= mutant.start[0] <= (node.end_lineno or 0) for node in functions)
