"""What the commands print."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import typer


def shown(progress: bool | None) -> bool:
    """Whether bars are shown: as asked, or where somebody can see them."""
    return sys.stderr.isatty() if progress is None else progress


def print_json(found: dict[str, Any]) -> None:
    """One JSON object; numbers that are not finite, which JSON lacks, become null."""
    typer.echo(json.dumps(_finite(found), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
