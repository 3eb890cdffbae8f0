"""The network of the experiments is trained once for its settings, and a stored one is used only if it can be trusted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from experiments import names
from experiments.autoencoder import Settings, autoencoder
from experiments.demo import picture, psnr

QUICK = Settings(train=128, epochs=1)
Captured = pytest.CaptureFixture[str]


def weights(settings: Settings, folder: Path) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(autoencoder(settings, folder).encoder.parameters())


def test_the_stored_weights_are_the_trained_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = weights(QUICK, tmp_path)
    monkeypatch.setattr("experiments.autoencoder._train", lambda *_: pytest.fail("trained although the weights are stored"))
    assert torch.equal(weights(QUICK, tmp_path), trained)


def test_other_settings_are_another_file(tmp_path: Path) -> None:
    quick = weights(QUICK, tmp_path)
    other = weights(Settings(train=128, epochs=1, seed=1), tmp_path)
    assert not torch.equal(quick, other)
    assert len(list(tmp_path.iterdir())) == 2
    assert torch.equal(weights(QUICK, tmp_path), quick)


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "nan"])
def test_a_damaged_file_is_replaced_and_said_so_in_one_line(damage: str, tmp_path: Path, capsys: Captured) -> None:
    trained = weights(QUICK, tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "other":
        np.savez(path, something=np.zeros(3))
    else:
        with np.load(path) as stored:
            np.savez(path, **{name: np.full_like(stored[name], np.nan) for name in stored.files})
    capsys.readouterr()
    assert torch.equal(weights(QUICK, tmp_path), trained)
    said = capsys.readouterr().out.strip()
    assert said.count("\n") == 0
    assert f"{path} cannot be used" in said
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == whole or damage == "nan"


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.stored.np.savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        autoencoder(QUICK, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_held_out_digits_are_the_same_for_every_size_and_are_not_trained_on(tmp_path: Path) -> None:
    network = autoencoder(QUICK, tmp_path)
    assert network.held_out.shape == (500, 1, 28, 28)
    assert network.held_out.min() == 0
    assert network.held_out.max() == 1
    assert not network.encoder.training
    assert not any(parameter.requires_grad for parameter in network.encoder.parameters())
    assert network.decoder(network.encoder(network.held_out[:2])).shape == (2, 1, 28, 28)


def test_training_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    autoencoder(QUICK, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_psnr_of_a_constant_error_is_its_formula() -> None:
    truth = torch.rand(2, 1, 28, 28, dtype=torch.float64)
    assert psnr(truth, truth + torch.tensor([0.1, 0.01]).reshape(2, 1, 1, 1)) == pytest.approx([20.0, 40.0], abs=1e-3)


def test_the_picture_has_a_row_for_each_method() -> None:
    x = torch.rand(12, 1, 28, 28)
    figure = picture(x, x, x, {"psnr_decoder": [20.0] * 12, "psnr_inversion": [27.0] * 12})
    assert len(figure.axes) == 30
    assert [axis.get_ylabel() for axis in figure.axes[::10]] == ["truth", "trained decoder", "inversion"]
    assert figure.axes[-1].get_xlabel() == "27.0 dB"


def test_the_demo_is_among_the_scripts() -> None:
    assert "demo" in names()
    assert "autoencoder" not in names()
