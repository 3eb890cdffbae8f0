"""One script a figure or table, each with ``main(size="full" | "smoke")``. ``python -m experiments`` runs them all."""

from __future__ import annotations

from pathlib import Path


def names() -> list[str]:
    """The scripts that have a ``main``, as dotted names below this package."""
    here = Path(__file__).parent
    scripts = [path for path in sorted(here.rglob("*.py")) if not path.name.startswith("_")]
    runnable = [path for path in scripts if "\ndef main(" in path.read_text("utf-8")]
    return [".".join(path.relative_to(here).with_suffix("").parts) for path in runnable]
