"""``netinverse experiment``."""

from __future__ import annotations

import importlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import netinverse as ni


class Size(StrEnum):
    full = "full"
    smoke = "smoke"


def places() -> tuple[Path, ...]:
    """Where a checkout may be: here, or where the package lies."""
    return Path.cwd(), Path(ni.__file__).resolve().parents[1]


def names() -> list[str]:
    """The experiments that there are. Raises FileNotFoundError away from a checkout."""
    roots = [root for root in places() if (root / "experiments" / "__init__.py").is_file()]
    if not roots:
        raise FileNotFoundError(
            "experiment: there is no folder experiments/ here, since experiments are not part of the installed package. "
            "Run this command in a checkout of the project."
        )
    sys.path.insert(0, str(roots[0]))
    found: list[str] = list(importlib.import_module("experiments").names())
    return found


def names_like(incomplete: str) -> list[str]:
    """What the shell completes."""
    try:
        return [name for name in names() if name.startswith(incomplete)]
    except OSError:
        return []


def experiment(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A script of the folder experiments/, such as demo.", autocompletion=names_like),
    ],
    size: Annotated[Size, typer.Option(help="full as reported, smoke to see that it runs.")] = Size.full,
) -> None:
    known = names()
    if name not in known:
        raise ValueError(f"experiment: {name!r} is unknown. Choose one of {', '.join(known)}.")
    importlib.import_module(f"experiments.{name}").main(size=size.value)
