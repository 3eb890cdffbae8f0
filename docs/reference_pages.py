"""The reference: a page for each room with its public names, made from the package itself, so that no name can be forgotten."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Collection
from enum import Enum
from pathlib import Path
from typing import Any

import netinverse as ni

CONTRACTS = (
    *("protocols.ProximalFunction", "protocols.Potential", "protocols.LinearMap", "protocols.Operator"),
    *("regularisers.Regulariser", "priors.SynthesisRegulariser", "fidelities.Fidelity", "parameter_choice.ParameterRule"),
    "methods.Method",
)
"""What an object of a user's own has to be, in the order of the page; not all of it is public by name."""

TITLES = {
    "inversion": "Inversion",
    "networks": "Networks",
    "regularisers": "Regularisers and priors",
    "prox": "Convex functions and constraints",
    "fidelities": "Fidelities and noise",
    "parameter_choice": "Rules that choose alpha",
    "methods": "Methods",
    "diagnostics": "Diagnostics",
    "studies": "Studies",
    "layers": "netinverse.layers",
    "training": "netinverse.training",
    "testing": "netinverse.testing",
    "plots": "netinverse.plots",
    "contracts": "Contracts, and maps for other libraries",
}
"""The pages in their order. A room that is not here gets a page of its own name."""

SHARED = {
    "reconstruction": "inversion",
    "solvers": "inversion",
    "checkpoints": "inversion",
    "priors": "regularisers",
    "noise": "fidelities",
}
"""Rooms that have no page of their own."""


def public_names(module: Any) -> dict[str, Any]:
    """What a module offers: classes and functions of this package, by name, in the order in which it imports or defines them."""
    found = {name: value for name, value in vars(module).items() if inspect.isclass(value) or inspect.isfunction(value)}
    return {name: value for name, value in found.items() if name[0] != "_" and value.__module__.startswith("netinverse.")}


def pages() -> dict[str, dict[str, Any]]:
    """By page, the objects by the names they are reached by."""
    found: dict[str, dict[str, Any]] = {name: {} for name in TITLES}
    own_first = ["", *SHARED]
    by_room = [(value.__module__.split(".")[1], name, value) for name, value in public_names(ni).items()]
    for room, name, value in sorted(by_room, key=lambda each: own_first.index(each[0] if each[0] in SHARED else "")):
        found.setdefault(SHARED.get(room, room), {})[f"netinverse.{name}"] = value
    for room in ("layers", "training", "testing", "plots"):
        module = importlib.import_module(f"netinverse.{room}")
        found[room] = {f"netinverse.{room}.{name}": value for name, value in public_names(module).items()}
    for path in (*CONTRACTS, "operators.interop.to_scipy"):
        room, _, name = path.rpartition(".")
        found["contracts"][f"netinverse.{path}"] = getattr(importlib.import_module(f"netinverse.{room}"), name)
    return found


def text_of(page: str, objects: dict[str, Any]) -> str:
    """The page in reStructuredText."""
    title = TITLES.get(page, f"netinverse.{page}")
    lines = [title, "=" * len(title), ""]
    module = importlib.import_module(f"netinverse.{page}") if page in ("layers", "training", "testing", "plots") else None
    lines += [*escaped((module.__doc__ or "").splitlines()), ""] if module else []
    for path, value in objects.items():
        lines += [f".. auto{'class' if inspect.isclass(value) else 'function'}:: {path}"]
        lines += ["   :members:"] if inspect.isclass(value) else []
        lines += ["   :undoc-members:"] if inspect.isclass(value) and issubclass(value, Enum) else []
        lines += [""]
    return "\n".join(lines)


def write(app: Any) -> None:
    """All pages and their index; a file that would not change is left alone, so that Sphinx need not read it again."""
    folder = Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    made = {f"{page}.rst": text_of(page, objects) for page, objects in pages().items()}
    listed = "\n".join(f"   {page}" for page in pages())
    made["index.rst"] = f"Reference\n=========\n\n.. toctree::\n   :maxdepth: 1\n\n{listed}\n"
    for name, text in made.items():
        path = folder / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
    for stale in set(folder.glob("*.rst")) - {folder / name for name in made}:
        stale.unlink()


def escaped(lines: list[str], arguments: Collection[str] = ()) -> list[str]:
    """A docstring of this project as reStructuredText: prose, formulas in plain characters, ``code``, indented formulas.

    Where a sentence begins with an argument and a colon, it begins an item of a list.
    """
    out: list[str] = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        part = paragraph.splitlines()
        if part and all(line.startswith("    ") for line in part):
            out += ["::", "", *part, ""]
            continue
        text = _plain(" ".join(line.strip() for line in part))
        names = "|".join(re.escape(_plain(name)) for name in arguments)
        pieces = re.split(rf"(?:^|(?<=[.;] ))((?:{names})(?:, (?:{names}))*): ", text) if names else [text]
        out += [pieces[0].strip(), ""] if pieces[0].strip() else []
        for name, meaning in zip(pieces[1::2], pieces[2::2], strict=True):
            out += [f"- **{name}**: {meaning.strip()}"]
        out += [""] if len(pieces) > 1 else []
    return out


def _plain(line: str) -> str:
    """Everything but ``code`` as it stands."""
    pieces = re.split(r"(``[^`]+``)", line)
    return "".join(piece if piece.startswith("``") else re.sub(r"([\\*_|`])", r"\\\1", piece) for piece in pieces)


def arguments_of(obj: Any) -> list[str]:
    """The arguments of a function, or the fields of a class."""
    try:
        found = inspect.signature(obj).parameters if callable(obj) else {}
    except ValueError:  # an exception without an __init__ of its own has none that Python knows
        found = {}
    fields = getattr(obj, "__annotations__", {}) if inspect.isclass(obj) else {}
    return [name for name in dict.fromkeys([*found, *fields]) if name != "self"]


def rewrite(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = escaped(lines, arguments_of(obj))


def signature(app: Any, what: str, name: str, obj: Any, options: Any, text: str | None, result: str | None) -> Any:
    """Defaults that a factory makes have no expression; without one the signature could not be read."""
    return (None if text is None else text.replace("<factory>", "...")), result


def public(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """A type in a signature: a link to the public name of one of ours, plain text for any other."""
    if node.get("refdomain") != "py" or not node.get("refdoc", "").startswith("reference/"):
        return None
    short = node["reftarget"].rpartition(".")[2]
    paths = [path for objects in pages().values() for path in objects if path.rpartition(".")[2] == short]
    if not paths:
        return contnode
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", paths[0], node, contnode) or contnode


def setup(app: Any) -> None:
    app.connect("builder-inited", write, priority=100)
    app.connect("autodoc-process-docstring", rewrite)
    app.connect("autodoc-process-signature", signature)
    app.connect("missing-reference", public)
