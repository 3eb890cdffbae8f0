"""Periodic wavelet transforms against PyWavelets and the laws of an orthonormal map."""

import builtins
from typing import Any

import numpy as np
import pytest
import pywt
import torch

from netinverse.operators.wavelets import PeriodicWavelet, scaling_filter


@pytest.mark.parametrize("wavelet", ["haar", "db2", "db4", "sym5", "coif1"])
@pytest.mark.parametrize("shape", [(1, 16), (2, 8, 12), (1, 4, 8, 6)])
def test_orthonormal(wavelet: str, shape: tuple[int, ...]) -> None:
    transform = PeriodicWavelet.named(wavelet, shape)
    x, y = (torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    before = x.clone()
    torch.testing.assert_close(transform.adjoint(transform(x)), x, rtol=0, atol=1e-10)
    torch.testing.assert_close(transform(transform.adjoint(y)), y, rtol=0, atol=1e-10)
    assert float((transform(x) * y).sum()) == pytest.approx(float((x * transform.adjoint(y)).sum()), rel=1e-10)
    assert torch.equal(x, before)


@pytest.mark.parametrize("wavelet", ["haar", "db2", "db3", "sym4"])
def test_one_level_is_that_of_pywavelets(wavelet: str) -> None:
    """Up to a circular shift, the coefficients are PyWavelets' own in its mode 'periodization'."""
    x = np.random.default_rng(0).standard_normal(32)
    ours = PeriodicWavelet.named(wavelet, (1, 32), levels=1)(torch.as_tensor(x).reshape(1, 1, 32))[0, 0].numpy()
    for odd in (0, 1):
        low, high = pywt.dwt(np.roll(x, odd), wavelet, mode="periodization")
        shifts = [k for k in range(16) if np.allclose(np.roll(low, k), ours[:16], atol=1e-10)]
        if shifts:
            assert any(np.allclose(np.abs(np.roll(high, k)), np.abs(ours[16:]), atol=1e-10) for k in range(16))
            return
    pytest.fail("no shift of PyWavelets' coefficients agrees")


def test_smooth_signals_have_few_coefficients() -> None:
    """db2 has two vanishing moments: on a line, no detail away from the seam."""
    line = torch.linspace(0, 1, 32, dtype=torch.float64).reshape(1, 1, 32)
    details = PeriodicWavelet.named("db2", (1, 32), levels=1)(line)[0, 0, 16:]
    assert int((details.abs() > 1e-10).sum()) == 1
    constant = PeriodicWavelet.named("db2", (1, 8, 8))(torch.ones(1, 1, 8, 8, dtype=torch.float64))
    size = constant.shape[-1] >> PeriodicWavelet.named("db2", (1, 8, 8)).levels
    assert float(constant[0, 0, :size, :size].square().sum()) == pytest.approx(64.0, rel=1e-10)


def test_levels() -> None:
    assert PeriodicWavelet.named("db2", (1, 28, 28)).levels == 2
    assert PeriodicWavelet.named("haar", (1, 64)).levels == 6
    assert PeriodicWavelet.named("db4", (1, 6)).levels == 1
    with pytest.raises(ValueError, match=r"PeriodicWavelet: one input has shape \(1, 7, 8\) and levels is None"):
        PeriodicWavelet.named("db2", (1, 7, 8))
    with pytest.raises(ValueError, match=r"levels is 3, but every spatial axis"):
        PeriodicWavelet.named("db2", (1, 12), levels=3)


def test_names() -> None:
    with pytest.raises(ValueError, match=r"wavelet is 'nope', which PyWavelets does not know"):
        scaling_filter("nope")
    with pytest.raises(ValueError, match=r"wavelet is 'bior2.2', which is not orthogonal"):
        scaling_filter("bior2.2")


def test_without_pywavelets(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "pywt":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ImportError, match=r"WaveletSparsity: PyWavelets is not installed.*pip install PyWavelets"):
        scaling_filter("db2")
