"""The house: imports only go down the list, and importing the library costs little more than importing torch."""

from __future__ import annotations

import ast
import os
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import netinverse as ni

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "netinverse"

# From the ground up, as in docs/architecture.md. A module may import from its own room and from the rooms before it.
# A module that is needed lower down than the rest of its folder has a place of its own.
HOUSE = [
    "version",
    "protocols",
    "modes",
    "tensors",
    "footprint",
    "checks",
    "archives",
    "fingerprint",
    "checkpoints",
    "operators",
    "prox",
    "layers",
    "networks",
    "lifting",
    "diagnostics.arguments",
    "noise",
    "fidelities",
    "projection",
    "regularisers",
    "problems",
    "diagnostics.certificates",
    "diagnostics.metrics",
    "solvers",
    "priors",
    "parameter_choice",
    "methods",
    "progress",
    "reconstruction",
    "plots",
    "arguments",
    "sensitivity",
    "starting",
    "solving",
    "chunks",
    "unknowns",
    "inversion",
    "diagnostics",
    "studies",
    "training",
    "testing",
]
TOP = ["", "cli"]  # netinverse/__init__.py and the command line see everything
MODULES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return room_of(".".join(parts[:-1] if parts[-1] == "__init__" else parts))


def room_of(name: str) -> str:
    """The place in the house of a module, given below netinverse: its own, or that of its folder."""
    return name if name in HOUSE else name.split(".")[0]


def runs(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below ``if TYPE_CHECKING``, which type checkers alone see."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            yield node
            yield from runs(node)


def imports(path: Path, top_level: bool = False) -> set[str]:
    """The modules a file imports, absolute names; with ``top_level`` only those run when it is imported."""
    tree = ast.parse(path.read_text("utf-8"))
    found: set[str] = set()
    for node in tree.body if top_level else runs(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; the house uses absolute names"
            # ``from netinverse import training`` runs the package, which an import in it does not run again, and the submodule.
            own = node.module == "netinverse"
            found |= {f"netinverse.{alias.name}" for alias in node.names} if own else {node.module or ""}
            found |= {"netinverse"} if own and path != PACKAGE / "__init__.py" else set()
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_go_down(path: Path) -> None:
    own = room(path)
    if own in TOP:
        return
    assert own in HOUSE, f"{own} has no place in the house: add it to HOUSE and to docs/architecture.md"
    allowed = HOUSE[: HOUSE.index(own) + 1] + (["plots"] if own == "reconstruction" else [])  # .plot() asks for it when called
    for name in imports(path):
        if name == "netinverse" or name.startswith("netinverse."):
            target = room_of(name.removeprefix("netinverse").lstrip("."))
            assert target in allowed, f"{path.relative_to(ROOT)} imports {name}, which lies above {own}"


def run(imported: str, by: str) -> set[str]:
    """The modules that run for an import: the module itself, and the packages around it that do not run already."""
    parts = imported.split(".")
    around = {".".join(parts[: k + 1]) for k in range(len(parts))}
    return {imported} | {name for name in around if not f"{by}.".startswith(f"{name}.")}


def test_modules_of_a_room_do_not_import_in_a_circle() -> None:
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in MODULES}
    edges = {
        name: {other for found in imports(path, top_level=True) for other in run(found, name)} for name, path in names.items()
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"circle: {' -> '.join([*above[above.index(name) :], name])}"
        if name not in done:
            for other in sorted(edges[name] & names.keys()):
                visit(other, (*above, name))
            done.add(name)

    for name in sorted(names):
        visit(name, ())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_plots_imports_matplotlib(path: Path) -> None:
    drawn = {name for name in imports(path) if name.split(".")[0] == "matplotlib"}
    assert not drawn or room(path) == "plots"


def python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_import_loads_nothing_beside_torch_but_itself() -> None:
    """What its time goes into can be counted: its own modules, and not one of another package."""
    found = python(
        "import sys, torch; before = set(sys.modules); import netinverse; "
        "new = {m.split('.')[0] for m in set(sys.modules) - before}; "
        "print(len([m for m in sys.modules if m.startswith('netinverse')]), *sorted(new - set(sys.stdlib_module_names)))"
    )
    count, *packages = found.split()
    assert set(packages) <= {"netinverse", "numpy"} and int(count) <= len(MODULES)


@pytest.mark.slow
def test_import_costs_at_most_a_quarter_more_than_torch(tmp_path: Path) -> None:
    """In processor time, the median of five, of modules that are compiled already, as those of torch are."""
    timing = "import time; a = time.process_time(); import torch; b = time.process_time(); import netinverse; "
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    python("import netinverse", **compiled)
    ratios = [float(python(timing + "print((time.process_time() - a) / (b - a))", **compiled)) for _ in range(5)]
    assert statistics.median(ratios) <= 1.25, ratios


def test_import_changes_no_global_state() -> None:
    state = "(torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(), torch.initial_seed() == seed)"
    assert python(f"import torch; seed = torch.initial_seed(); a = {state}; import netinverse; print(a == {state})") == "True"


def test_public_names_are_exported_as_themselves() -> None:
    """``from ... import X as X`` or ``__all__`` tells type checkers that a name is public."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    hidden = [
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
        if alias.asname != alias.name
    ]
    assert not hidden or set(hidden) <= set(getattr(ni, "__all__", ()))


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == ni.__version__
    assert f"\nversion: {ni.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"## {ni.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_package_is_marked_as_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
