"""A file that cannot be read ends in one sentence, whatever happened to it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import nn

from netinverse.networks.files import load_network


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("models") / "whole.pt2"
    model = nn.Sequential(nn.Linear(6, 10), nn.ReLU()).eval()
    torch.export.save(torch.export.export(model, (torch.zeros(2, 6),), dynamic_shapes=({0: torch.export.Dim.AUTO},)), path)
    return path.read_bytes()


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.pt2").touch()
    with pytest.raises(ValueError, match=r"load_network: .*empty\.pt2 is empty \(.*Copy it again, or write it again"):
        load_network(tmp_path / "empty.pt2")


@pytest.mark.parametrize("share", [0.001, 0.3, 0.99])
def test_a_file_that_was_cut_off_is_no_pickle(whole: bytes, share: float, tmp_path: Path) -> None:
    (tmp_path / "cut.pt2").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"load_network: .*cut\.pt2 is damaged or cut off \(.*Copy it again"):
        load_network(tmp_path / "cut.pt2")


def test_a_flipped_byte_is_harmless_or_named(whole: bytes, tmp_path: Path) -> None:
    """40 places: the archive's checksums find all that reach the program; its header's padding may hold anything."""
    generator, path, refused = random.Random(1), tmp_path / "flipped.pt2", 0
    for _ in range(40):
        content = bytearray(whole)
        content[generator.randrange(len(content))] ^= 0xFF
        path.write_bytes(content)
        try:
            load_network(path)
        except ValueError as error:
            assert str(error).startswith("load_network: ") and str(path) in str(error)
            refused += 1
    assert refused > 20
