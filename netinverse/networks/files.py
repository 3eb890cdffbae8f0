"""Networks in files. Only .pt2 is read: a pickle can run any code when it is opened."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
import zlib
from os import PathLike
from pathlib import Path

import torch
from torch.export import ExportedProgram

from netinverse.checks import require_path
from netinverse.modes import in_usual_modes
from netinverse.networks.capture import lift
from netinverse.networks.export import quiet
from netinverse.networks.graph import LiftedNetwork

NUMPY = b"\x93NUMPY"


@in_usual_modes
def load_network(path: str | PathLike[str]) -> LiftedNetwork:
    """The lifted network of a .pt2 file, as ``torch.export.save`` writes it.

    Raises FileNotFoundError where there is no file, ValueError where it is no .pt2. Nothing is ever unpickled.
    """
    return lift(load_program(path))


def load_program(path: str | PathLike[str]) -> ExportedProgram:
    """The exported program of a .pt2 file."""
    file = require_path("load_network", "path", path)
    if not file.is_file():
        raise FileNotFoundError(f"load_network: {file} is no file. Pass the path of a .pt2 file written by torch.export.save.")
    content = _whole(file)
    if content.startswith(NUMPY):
        raise ValueError(
            f"load_network: {file} is an array of NumPy, but must be a network, as torch.export.save writes it (.pt2)."
        )
    if not _is_exported(file):
        raise ValueError(
            f"load_network: {file} holds no exported program but most likely a pickle (torch.save), which could run "
            f"any code when it is "
            f"opened, so it is refused. Where you trust it, convert it once to .pt2:\n"
            f"    program = torch.export.export(model.eval(), (example,), dynamic_shapes=({{0: torch.export.Dim.AUTO}},))\n"
            f'    torch.export.save(program, "{file.with_suffix(".pt2").name}")\n'
            f"with model the network after loading and example a batch of two inputs."
        )
    _refuse_code(file, content)
    try:
        with quiet():
            return torch.export.load(io.BytesIO(content))
    except RuntimeError as error:
        raise ValueError(
            f"load_network: torch {torch.__version__} cannot read {file} ({error}). It is damaged, or another version of torch "
            f"wrote it; export the network again with this one."
        ) from error


def _whole(file: Path) -> bytes:
    """The bytes of a file; where it is an archive, one whose checksums hold."""
    content = file.read_bytes()
    try:
        if content[:2] in (b"", b"PK"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                damaged = archive.testzip()
            if content[-22:-18] != b"PK\5\6":  # zipfile takes the end of an archive within for the end of the file
                raise zipfile.BadZipFile("its index, which lies at the end, is not there")
            if damaged is not None:
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
    except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError, NotImplementedError) as error:
        raise ValueError(
            f"load_network: {file} is {'damaged or cut off' if content else 'empty'} ({error}). Copy it again, or write it again "
            f"with torch.export.save."
        ) from error
    return content


def _refuse_code(file: Path, content: bytes) -> None:
    """Raise if the archive holds anything that loading would unpickle freely; the exporter falls back to that silently."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        found = next((n for n in names if names.count(n) > 1 or "custom_obj" in n or not _is_harmless(n, archive.read(n))), None)
    if found is not None:
        raise ValueError(
            f"load_network: {file} holds Python objects that could run any code when they are opened ({found}), so it is "
            f"refused. Export the network again with plain tensors as parameters, buffers and example inputs."
        )


def _is_harmless(name: str, content: bytes) -> bool:
    if name.endswith(".json"):
        return not _asks_for_pickle(json.loads(content))
    if not name.endswith(".pt") or not content:
        return True
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError):
        return False
    return True


def _asks_for_pickle(tree: object) -> bool:
    if isinstance(tree, dict):
        return bool(tree.get("use_pickle")) or any(map(_asks_for_pickle, tree.values()))
    return isinstance(tree, list) and any(map(_asks_for_pickle, tree))


def _is_exported(file: Path) -> bool:
    """A .pt2 is a zip archive that holds a serialised program."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
    return any("serialized_exported_program" in name or (name.endswith(".json") and "/models/" in name) for name in names)
