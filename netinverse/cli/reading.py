"""Files and numbers as they come from the command line; what cannot be read is one clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from netinverse.archives import UNREADABLE

PICTURES = (".png", ".pdf", ".svg")

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A network written by torch.export.save (.pt2).")]
ARRAY = ".npy, or .npz with one array or one called data."


def require_file(path: Path, name: str) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{name} {path} is not a file. Check the path.")


def require_picture(who: str, path: Path | None) -> None:
    if path is not None and path.suffix not in PICTURES:
        raise ValueError(f"{who}: the picture is {path}, but must end in one of {', '.join(PICTURES)}.")


def read_array(path: Path, name: str) -> torch.Tensor:
    """The array of a .npy file, or of a .npz file with one array or one called ``data``. Never unpickles."""
    require_file(path, name)
    if path.suffix == ".pt2":
        raise ValueError(f"{name} {path} is a network, but must be an array: {ARRAY} MODEL comes first, {name} after it.")
    try:
        found, names = _array_in(path)
    except UNREADABLE as error:
        raise ValueError(
            f"{name} {path} is not a NumPy file of numbers (pickled objects are not read, since they can run code). "
            f"Write it with numpy.save."
        ) from error
    if found is None:
        raise ValueError(f"{name} {path} holds {', '.join(names) or 'nothing'}; keep one array, or call one data.")
    if found.dtype.kind not in "fiub":
        raise TypeError(f"{name} {path} has dtype {found.dtype}, but must hold real numbers.")
    if found.dtype.kind != "f" or found.dtype.itemsize > 8:
        found = found.astype(np.float64)
    return torch.from_numpy(np.ascontiguousarray(found, dtype=found.dtype.newbyteorder("=")))


def _array_in(path: Path) -> tuple[np.ndarray[Any, Any] | None, list[str]]:
    """The array, and the names of all there are; None where none is meant."""
    found = np.load(path, allow_pickle=False)
    if not isinstance(found, np.lib.npyio.NpzFile):
        return found, []
    with found:
        names = found.files
        key = "data" if "data" in names else names[0] if len(names) == 1 else None
        return None if key is None else found[key], names


def parse_noise_level(text: str) -> float | torch.Tensor:
    try:
        return float(text)
    except ValueError:
        return read_array(Path(text), "--noise-level: neither a number nor a file:")


def parse_shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.strip("() ").split(",") if part.strip())
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise ValueError(f"--input-shape is {text!r}, but must be positive whole numbers, such as 1,28,28.")
    return shape


def parse_numbers(name: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(f"{name} is {text!r}, but must be numbers separated by commas, such as 0.01,0.05,0.1.") from error
