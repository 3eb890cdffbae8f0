"""A result goes to disk and comes back bit by bit, and says which samples to distrust."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from netinverse.diagnostics.certificates import Certificate
from netinverse.diagnostics.metrics import psnr
from netinverse.plots import convergence, reconstruction_grid, rule_trace
from netinverse.reconstruction import Reconstruction
from netinverse.solvers.status import Status


def result(n: int = 3, dtype: torch.dtype = torch.float32) -> Reconstruction:
    values = torch.arange(1.0, n + 1, dtype=dtype)
    index = torch.arange(n).repeat(4)
    table = {"sample": index, "alpha": torch.rand(4 * n), "residual": torch.rand(4 * n), "objective": torch.rand(4 * n)}
    return Reconstruction(
        x=torch.rand(n, 1, 5, 5).to(dtype),
        alpha=values / 0,
        status=(Status.CONVERGED, Status.UNREACHABLE, Status.STALLED)[:n],
        residual=values * torch.nan if n else values,
        fidelity_value=values,
        steps=torch.arange(n),
        certificate=Certificate("stationarity", values, "local"),
        data=torch.rand(n, 7),
        message="said",
        seconds=0.1,
        noise_level=values,
        tried_columns=table,
        history_columns={**table, "step": index, "optimality": torch.rand(4 * n), "seconds": torch.rand(4 * n)},
        continuation={"data_dual": torch.rand(n, 7)},
    )


@pytest.mark.parametrize("n", [0, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_round_trip(tmp_path: Path, n: int, dtype: torch.dtype) -> None:
    before, path = result(n, dtype), tmp_path / "result.npz"
    before.save(path)
    after = Reconstruction.load(path)
    for name, tensor in before.archive()[0].items():
        other = after.archive()[0][name]
        assert other.dtype == tensor.dtype and other.shape == tensor.shape
        assert torch.equal(other.isnan(), tensor.isnan()) and torch.equal(other.nan_to_num(), tensor.nan_to_num())
    assert (after.status, after.message, after.seconds, after.subgradient) == (before.status, "said", 0.1, None)
    assert after.tried.equals(before.tried) and after.history.equals(before.history)
    assert [p.name for p in tmp_path.iterdir()] == ["result.npz"]


def test_files_that_are_no_results(tmp_path: Path) -> None:
    path = tmp_path / "result.npz"
    result().save(path)
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is no complete file of"):
            Reconstruction.load(path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        Reconstruction.load(tmp_path / "none.npz")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Reconstruction.save: the folder of '.*nowhere/r\.npz' does not exist"):
        result().save(tmp_path / "nowhere" / "r.npz")


def test_summary_and_require_converged() -> None:
    text = result().summary()
    assert "1 of 3 converged" in text and "UNREACHABLE (1), sample 1" in text and "Give a noise level" in text
    with pytest.raises(RuntimeError, match=r"2 of 3 sample\(s\) did not converge.*STALLED \(1\), sample 2"):
        result().require_converged()
    good = replace(result(), status=(Status.CONVERGED,) * 3)
    assert good.converged and good.require_converged() is good
    assert "0 reconstruction" in result(0).summary()


def test_pictures_draw_what_they_are_given() -> None:
    r = result()
    assert len(r.plot(truth=torch.rand_like(r.x)).axes) == 6
    assert len(rule_trace(r).axes[0].lines) == 4 and len(convergence(r).axes[0].lines) == 3
    assert reconstruction_grid({"x": torch.rand(0, 1, 4, 4)}).texts[0].get_text() == "no samples"
    with pytest.raises(ValueError, match="nothing to draw"):
        reconstruction_grid({})


def test_psnr() -> None:
    truth = torch.zeros(2, 1, 4, 4, dtype=torch.float64)
    x = torch.stack([truth[0] + 0.1, truth[1]])
    assert psnr(x, truth).tolist() == pytest.approx([20.0, float("inf")])
    with pytest.raises(ValueError, match="Pass equal shapes"):
        psnr(x[:1], truth)
    with pytest.raises(ValueError, match="data_range is 0"):
        psnr(x, truth, 0)


def test_certificate_kinds() -> None:
    with pytest.raises(ValueError, match="kind is 'sure', which is not one of 'duality gap'"):
        Certificate("sure", torch.zeros(1), "")


def test_the_psnr_of_a_picture_is_for_the_interval_of_the_truth() -> None:
    """An error of 1 % of the interval is 40 dB: of [0, 1], where the truth keeps to it, and of what it fills elsewhere."""
    for width in (1.0, 255.0):
        truth = width * torch.linspace(0, 1, 16, dtype=torch.float64).reshape(1, 1, 4, 4)
        drawn = reconstruction_grid({"x": truth + 0.01 * width}, truth=truth)
        assert drawn.axes[0].get_xlabel() == "40.0 dB"
