"""A folder of finished cells: what was done stays done, and belongs to one configuration."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")

SETTINGS = "settings.json"
UNFINISHED = ".part-"


class StudyWarning(UserWarning):
    """Something of a study could not be kept. The study goes on."""


@dataclass(frozen=True)
class Folder(Generic[T]):
    """``settings.json`` and one file for each finished cell, ``cell-00012`` with ``suffix``.

    write(value, path) and read(path) are those of one cell. Files appear whole or not at all.
    """

    path: Path
    suffix: str
    write: Callable[[T, Path], None]
    read: Callable[[Path], T]

    def claim(self, who: str, settings: Mapping[str, Any]) -> None:
        """Make the folder, or check that it is of these settings. Raises ValueError where it is of others, or something else."""
        target = self.path / SETTINGS
        for left in self.path.glob(f"{UNFINISHED}*"):  # of writers that were killed in the middle
            left.unlink(missing_ok=True)
        if target.exists():
            try:
                before = json.loads(target.read_text("utf-8"))
            except ValueError as error:
                raise ValueError(f"{who}: {target} cannot be read ({error}). Give another folder, or delete this one.") from error
            now = json.loads(json.dumps(settings))
            others = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
            if others:
                raise ValueError(
                    f"{who}: the folder {os.fspath(self.path)!r} holds a study of another configuration ({', '.join(others)} "
                    f"differ), so nothing was computed or overwritten. Give another folder, or delete this one."
                )
            return
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise ValueError(
                f"{who}: {os.fspath(self.path)!r} exists and holds no study, so nothing was written to it. Give a new or an "
                f"empty folder."
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_whole(target, lambda path: path.write_text(json.dumps(settings, indent=2) + "\n", "utf-8"))
        except OSError as error:
            raise OSError(
                f"{who}: nothing can be written to the folder {os.fspath(self.path)!r} ({error}), so that no finished cell could "
                f"be kept. Give a folder that can be written to, or none."
            ) from error

    def cell(self, number: int) -> Path:
        return self.path / f"cell-{number:05}{self.suffix}"

    def finished(self, number: int) -> T | None:
        """The cell, or None where it has to be computed: not there yet, or damaged."""
        path = self.cell(number)
        if not path.exists():
            return None
        try:
            return self.read(path)
        except Exception as error:  # whatever a damaged file makes its reader raise, the cell can be computed again
            warnings.warn(f"{path} cannot be read ({error}); its cell is computed again.", StudyWarning, stacklevel=2)
            return None

    def put(self, number: int, value: T) -> None:
        """Write the cell. Raises OSError where the disk is full."""
        write_whole(self.cell(number), lambda path: self.write(value, path))

    def keep(self, number: int, value: T) -> None:
        """Write the cell; where the disk is full, say so and go on."""
        try:
            self.put(number, value)
        except OSError as error:
            warnings.warn(
                f"{self.cell(number)} could not be written ({error}). The study goes on and its result holds this cell, but a "
                f"study that is interrupted will compute it again.",
                StudyWarning,
                stacklevel=2,
            )


def write_whole(target: Path, write: Callable[[Path], object]) -> None:
    """Write beside the file and move it there, so that an interruption leaves the old file or the new one."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=UNFINISHED, suffix=target.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
