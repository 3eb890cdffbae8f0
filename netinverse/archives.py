"""Named tensors and a JSON text in one .npz file: whole or not at all, bit by bit, and nothing in it is ever executed."""

from __future__ import annotations

import glob
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile, zlib.error)
"""What reading a file that is damaged, cut or something else may raise."""


UNFINISHED = ".part"


def write_archive(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], *, compressed: bool = True) -> None:
    """Write beside the file and move it there, so that an interruption leaves the old file or the new one."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    dtypes: dict[str, str] = {}
    for name, tensor in tensors.items():
        arrays[name], dtypes[name] = _to_numpy(tensor)
    text = json.dumps({**meta, "dtypes": dtypes})
    arrays["meta"] = np.frombuffer(text.encode(), dtype=np.uint8)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
    try:
        with os.fdopen(handle, "wb") as stream:
            (np.savez_compressed if compressed else np.savez)(stream, allow_pickle=False, **arrays)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def require_format(found: object, own: str) -> None:
    """Raise ValueError unless the format that a file names is the one that is read here, such as "netinverse study 1"."""
    if found == own:
        return
    kind, version = own.rsplit(" ", 1)
    newer = str(found).removeprefix(f"{kind} ")
    if newer.isdigit() and int(newer) > int(version):
        raise ValueError(f"its format is {found!r}, that of a newer netinverse, and this one reads {own!r}: update netinverse")
    raise ValueError(f"its format is {found!r}, not {own!r}")


def clear_leftovers(path: Path) -> None:
    """Remove what writers of this file that were killed in the middle have left beside it."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{UNFINISHED}"):
        left.unlink(missing_ok=True)


def read_archive(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, on the CPU, and the text. Raises one of ``UNREADABLE`` where the file is not what ``write_archive`` wrote."""
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no .npz archive")
    with np.load(path, allow_pickle=False) as archive:
        meta = json.loads(archive["meta"].tobytes())
        return {name: _to_torch(archive[name], dtype) for name, dtype in meta["dtypes"].items()}, meta


def _to_numpy(tensor: Tensor) -> tuple[np.ndarray[Any, Any], str]:
    """An array with the tensor's bits, and the name of its dtype. numpy has no bfloat16, so its bits go as integers."""
    dense = tensor.detach().cpu().contiguous()
    dtype = str(dense.dtype).removeprefix("torch.")
    return (dense.view(torch.int16) if dense.dtype is torch.bfloat16 else dense).numpy(), dtype


def _to_torch(array: np.ndarray[Any, Any], dtype: str) -> Tensor:
    tensor = torch.from_numpy(np.array(array))
    wanted = getattr(torch, dtype)
    return tensor.view(wanted) if wanted is torch.bfloat16 else tensor.to(wanted)
