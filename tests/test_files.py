"""Every format of file that is read: cut, foreign, newer, changed, or made to run code, it is one clear error and stays as it is.

And what is written: a read-only folder or a full disk loses nothing that is in memory, and nothing that was there before.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import netinverse as ni
from netinverse import checkpoints
from netinverse.archives import read_archive, write_archive
from netinverse.checkpoints import CheckpointWarning
from netinverse.cli.reading import read_array
from netinverse.studies import folder as folders
from netinverse.studies.tables import read_table, write_table

F64 = torch.float64
DRAW = torch.Generator().manual_seed(0)
NETWORK = ni.mlp((4, 3), dtype=F64)
X = torch.rand(2, 4, generator=DRAW, dtype=F64)
Y = NETWORK(X).detach()
LABELS = torch.tensor([0, 2])


def solve(checkpoint: Path | None = None) -> ni.Reconstruction:
    return ni.invert(NETWORK, Y, rule=ni.Fixed(0.1), tolerance=1e-2, checkpoint=checkpoint)


def study() -> ni.Study:
    return ni.stability_study(NETWORK, X, noise_levels=[0.1], rule=ni.Fixed(0.1), tolerance=1e-2)


def train(checkpoint: Path | None = None) -> torch.Tensor:
    network = ni.mlp((4, 3), dtype=F64)
    ni.training.LiftedTraining().fit(network, [(X, LABELS)], 1, checkpoint=checkpoint)
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def export(path: Path) -> None:
    torch.export.save(torch.export.export(NETWORK, (X,)), path)


@dataclass(frozen=True)
class Format:
    """``told``: what a reader says of a file that is none of its own."""

    name: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]
    told: str


FORMATS = {
    "reconstruction": Format("r.npz", lambda path: solve().save(path), ni.Reconstruction.load, "no complete file of Recon"),
    "checkpoint of a solve": Format("c.npz", solve, solve, "no checkpoint that can be resumed.*Delete the file"),
    "checkpoint of a training": Format("t.npz", train, train, "no complete checkpoint of a training.*pass another file"),
    "study": Format("s.parquet", lambda path: study().save(path), ni.Study.load, r"is no study.*Study\.save writes one"),
    "network": Format("n.pt2", export, ni.load_network, "load_network: .*[Ee]xport"),
    "array": Format("a.npy", lambda path: np.save(path, Y), lambda path: read_array(path, "DATA"), "DATA .*(Write|keep one)"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of one file of each format."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "EVERY", 0.0)
        for name, kind in FORMATS.items():
            path = tmp_path_factory.mktemp("whole") / kind.name
            kind.write(path)
            found[name] = path.read_bytes()
            kind.read(path)
    return found


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def objects(value: object) -> np.ndarray[Any, Any]:
    array = np.empty(1, dtype=object)
    array[0] = value
    return array


def hidden_in_an_archive(path: Path, sprung: Path) -> None:
    with path.open("wb") as stream:
        np.savez(stream, allow_pickle=True, meta=objects(Trap(sprung)), x=objects(Trap(sprung)), data=objects(Trap(sprung)))


def behind_a_true_text(path: Path, sprung: Path) -> None:
    """The description is that of a true file, and the arrays are the trap."""
    text = json.dumps({"format": "netinverse reconstruction 1", "dtypes": {"x": "float64"}, "problem": {}, "parts": []})
    with path.open("wb") as stream:
        np.savez(stream, allow_pickle=True, meta=np.frombuffer(text.encode(), dtype=np.uint8), x=objects(Trap(sprung)))


def in_a_program(path: Path, sprung: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/models/model.json", "{}")
        archive.writestr("model/data/weights/weight_0.pt", pickle.dumps(Trap(sprung)))
        archive.writestr("model/extra/custom_obj_0", pickle.dumps(Trap(sprung)))


TRAPS: dict[str, Callable[[Path, Path], object]] = {
    "a pickle": lambda path, sprung: path.write_bytes(pickle.dumps(Trap(sprung))),
    "of torch.save": lambda path, sprung: torch.save({"x": Trap(sprung)}, path),
    "an array of objects": lambda path, sprung: np.save(path.open("wb"), objects(Trap(sprung)), allow_pickle=True),
    "hidden in an archive": hidden_in_an_archive,
    "behind a true text": behind_a_true_text,
    "in a program": in_a_program,
}


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("name", FORMATS)
def test_no_file_runs_code(name: str, trap: str, tmp_path: Path) -> None:
    kind, sprung = FORMATS[name], tmp_path / "sprung"
    path = tmp_path / kind.name
    TRAPS[trap](path, sprung)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"(?s){kind.told}"):
        kind.read(path)
    assert not sprung.exists() and path.read_bytes() == before


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_cut_or_another_file_is_refused_and_left(name: str, whole: dict[str, bytes], tmp_path: Path) -> None:
    kind, content = FORMATS[name], whole[name]
    path = tmp_path / kind.name
    # The data of a result can be taken as an array, as they are.
    others = [other for own, other in whole.items() if own != name and {own, name} != {"reconstruction", "array"}]
    for wrong in (b"", b"PK", *(content[: int(len(content) * share)] for share in (0.1, 0.9)), content[:-1], *others):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=f"(?s){kind.told}"):
            kind.read(path)
        assert path.read_bytes() == wrong and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", FORMATS)
def test_a_changed_byte_is_noticed_or_means_nothing(name: str, whole: dict[str, bytes], tmp_path: Path) -> None:
    """Archives and tables have checksums; what they leave out, such as the time a file was written, is not read."""
    if name == "array":
        pytest.skip("NumPy's own format has no checksum")
    kind, path = FORMATS[name], tmp_path / FORMATS[name].name
    path.write_bytes(whole[name])
    expected = known(kind.read(path))
    noticed, tries = 0, 8 if "checkpoint" in name else 30
    for place in np.random.default_rng(0).integers(len(whole[name]), size=tries):
        changed = bytearray(whole[name])
        changed[place] ^= 0x20
        path.write_bytes(changed)
        try:
            found = known(kind.read(path))
        except ValueError:
            noticed += 1
        else:
            assert found == expected
    assert noticed >= tries // 3


def known(read: object) -> object:
    match read:
        case ni.Reconstruction():
            return read.x.tolist(), read.alpha.tolist(), read.message
        case ni.Study():
            return read.table.drop(columns="seconds").to_csv(), read.notes
        case ni.LiftedNetwork():
            return read(X).tolist()
    assert isinstance(read, torch.Tensor)
    return read.tolist()


@pytest.mark.parametrize("name", ["reconstruction", "checkpoint of a solve", "checkpoint of a training", "study"])
def test_a_newer_format_is_said_to_be_newer(name: str, whole: dict[str, bytes], tmp_path: Path) -> None:
    kind = FORMATS[name]
    path = tmp_path / kind.name
    path.write_bytes(whole[name])
    if name == "study":
        table, meta = read_table(path)
        write_table(table, path, {**meta, "format": "netinverse study 2"})
    else:
        tensors, meta = read_archive(path)
        kind_of, version = meta["format"].rsplit(" ", 1)
        write_archive(path, tensors, {**meta, "format": f"{kind_of} {int(version) + 1}"})
    with pytest.raises(ValueError, match=r"its format is 'netinverse \w+ \d', that of a newer netinverse.*update netinverse"):
        kind.read(path)


FAILURES = {"full": OSError(28, "No space left on device"), "read-only": PermissionError(13, "Permission denied")}


def unwritable(how: str, patch: pytest.MonkeyPatch) -> None:
    """From now on every new file fails: in a read-only folder at once, on a full disk when it is whole."""

    def fail(*_: Any, **__: Any) -> None:
        raise FAILURES[how]

    patch.setattr("tempfile.mkstemp" if how == "read-only" else "os.replace", fail)


@pytest.mark.parametrize("how", FAILURES)
def test_what_cannot_be_kept_is_said_and_the_work_goes_on(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    x, parameters = solve().x, train()
    unwritable(how, monkeypatch)
    with pytest.warns(CheckpointWarning, match=r"invert: checkpoint .* could not be written \(.*Make room") as one:
        assert torch.equal(solve(tmp_path / "c.npz").x, x)
    with pytest.warns(CheckpointWarning, match=r"LiftedTraining\.fit: checkpoint .* could not be written \(.*Make room") as other:
        assert torch.equal(train(tmp_path / "t.npz"), parameters)
    assert len(one) == len(other) == 1 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", FAILURES)
def test_what_cannot_be_saved_is_an_error_that_leaves_what_was_there(
    how: str, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, found = solve(), study()
    before = {tmp_path / FORMATS[name].name: whole[name] for name in ("reconstruction", "study")}
    for path, content in before.items():
        path.write_bytes(content)
    unwritable(how, monkeypatch)
    with pytest.raises(OSError, match=r"Reconstruction\.save: .* could not be written \(.*as it was.*still in memory.*Make room"):
        result.save(tmp_path / "r.npz")
    with pytest.raises(OSError, match=r"Study\.save: .* could not be written \(.*as it was.*still in memory.*Make room"):
        found.save(tmp_path / "s.parquet")
    with pytest.raises(OSError, match=r"stability_study: nothing can be written to the folder .*Give a folder that"):
        ni.stability_study(NETWORK, X, noise_levels=[0.1], rule=ni.Fixed(0.1), folder=tmp_path / "cells")
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_study_killed_before_its_first_cell_is_taken_up(tmp_path: Path) -> None:
    """All that was there is the folder, and a file that was being written."""
    (tmp_path / f"{folders.UNFINISHED}abc.json").write_text("{")
    found = ni.stability_study(NETWORK, X, noise_levels=[0.1], rule=ni.Fixed(0.1), tolerance=1e-2, folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cell-00000.parquet", "settings.json"]
    assert found.table["error"].equals(study().table["error"])
