"""Whatever form numbers come in, and whatever state torch is in: the same answer, and what was passed is as it was."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import netinverse as ni

F64 = torch.float64
DRAW = torch.Generator().manual_seed(0)
NETWORK = ni.mlp((4, 3), dtype=F64)
CONVOLUTION = ni.lift(
    nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, bias=False, dtype=F64), nn.ReLU()).eval(), torch.zeros(2, 2, 4, 4, dtype=F64)
)
X = torch.rand(2, 4, generator=DRAW, dtype=F64)
Y = NETWORK(X).detach()
IMAGES = torch.rand(2, 2, 4, 4, generator=DRAW, dtype=F64)
FEATURES = CONVOLUTION(IMAGES).detach()
SOURCE = ni.source_element(NETWORK, X, ni.Tikhonov())

Work = Callable[[Any, Any], Tensor]


def trained(x: Any, y: Any) -> Tensor:
    network = ni.mlp((4, 3), dtype=F64)
    ni.training.LiftedTraining().fit(network, [(torch.as_tensor(x).detach(), torch.tensor([0, 2]))], 1)
    return torch.cat([p.detach().flatten() for p in network.parameters()])


WORKS: dict[str, Work] = {
    "invert": lambda x, y: ni.invert(NETWORK, y, rule=ni.Fixed(0.1), start=x, tolerance=1e-3).x,
    "invert l1": lambda x, y: ni.invert(NETWORK, y, rule=ni.Fixed(0.1), regulariser=ni.Sparsity(), tolerance=1e-3).x,
    "Landweber": lambda x, y: ni.invert(NETWORK, y, noise_level=0.1, method=ni.Landweber(20)).x,
    "add_noise": lambda x, y: ni.add_noise(y, relative=0.1)[0],
    "worst noise": lambda x, y: ni.add_noise(y, relative=0.1, kind="worst-case", network=NETWORK, truth=x)[0],
    "conditioning": lambda x, y: ni.conditioning(NETWORK, x).largest,
    "cone": lambda x, y: ni.tangential_cone_constant(NETWORK, x, 0.1, points=4),
    "source_element": lambda x, y: ni.source_element(NETWORK, x, ni.Tikhonov()).v,
    "error_bound": lambda x, y: ni.error_bound(NETWORK, x, y, 0.1, ni.Tikhonov(), SOURCE).value,
}
EXPECTED = {name: work(X, Y) for name, work in WORKS.items()}


def of_a_graph(x: Tensor) -> Tensor:
    return 1.0 * x.clone().requires_grad_()


def made_in_inference_mode(x: Tensor) -> Tensor:
    with torch.inference_mode():
        return x.clone()


def read_only(x: Tensor) -> np.ndarray[Any, Any]:
    array = x.numpy().copy()
    array.setflags(write=False)
    return array


FORMS: dict[str, Callable[[Tensor], Any]] = {
    "transposed": lambda x: x.transpose(0, -1).contiguous().transpose(0, -1),
    "every other number": lambda x: torch.stack((x, -x), -1)[..., 0],
    "part of more": lambda x: torch.cat((-x, x, x))[len(x) : 2 * len(x)],
    "needs gradients": lambda x: x.clone().requires_grad_(),
    "of a graph": of_a_graph,
    "made in inference mode": made_in_inference_mode,
    "array": lambda x: x.numpy().copy(),
    "array, backwards": lambda x: np.flip(np.flip(x.numpy()).copy()),
    "array, by columns": lambda x: np.asfortranarray(x.numpy()),
    "array, other byte order": lambda x: x.numpy().astype(">f8"),
    "array, read-only": read_only,
}


def mark(value: Any) -> tuple[Any, ...]:
    """What must not change: numbers, layout, and what automatic differentiation knows of them."""
    if isinstance(value, np.ndarray):
        return value.tobytes(), value.strides, value.flags.writeable
    return value.detach().numpy().tobytes(), value.stride(), value.requires_grad, value.is_leaf and value.grad is None


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_the_numbers_does_not_matter(form: str) -> None:
    for name, work in WORKS.items():
        x, y = FORMS[form](X), FORMS[form](Y)
        before = mark(x), mark(y)
        found = work(x, y)
        torch.testing.assert_close(found, EXPECTED[name], rtol=1e-12, atol=1e-12, msg=lambda text, n=name: f"{n}: {text}")
        assert not found.requires_grad and not found.is_inference() and (mark(x), mark(y)) == before, name


@pytest.mark.parametrize("form", [*FORMS, "channels last"])
def test_the_form_of_pictures_does_not_matter(form: str) -> None:
    change = {**FORMS, "channels last": lambda x: x.to(memory_format=torch.channels_last)}[form]
    plain = ni.invert(CONVOLUTION, FEATURES, rule=ni.Fixed(0.1), start=IMAGES, max_steps=3)
    y, start = change(FEATURES), change(IMAGES)
    before = mark(y), mark(start)
    found = ni.invert(CONVOLUTION, y, rule=ni.Fixed(0.1), start=start, max_steps=3)
    torch.testing.assert_close(found.x, plain.x, rtol=1e-9, atol=1e-9)
    assert found.x.shape == IMAGES.shape and not found.x.requires_grad and (mark(y), mark(start)) == before


def test_no_samples_and_one_sample() -> None:
    for name, work in WORKS.items():
        if name == "error_bound":  # the source element is that of both samples
            continue
        assert len(work(X[:0], Y[:0])) == 0, name
        torch.testing.assert_close(work(X[:1], Y[:1])[0], EXPECTED[name][0], rtol=1e-9, atol=1e-9)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "half precision by default": lambda: default_dtype(torch.float16),
    "double precision by default": lambda: default_dtype(F64),
    "another device by default": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("mode", MODES)
def test_the_modes_of_the_caller_do_not_reach_the_computation(mode: str) -> None:
    """In inference mode nothing is recorded: before, every derivative was zero there, without a word."""
    before = trained(X, Y)
    for name, work in WORKS.items():
        with MODES[mode]():
            found = work(X, Y)
        assert torch.equal(found, EXPECTED[name]), name
    with MODES[mode](), torch.device("cpu"):
        after = trained(X, Y)
    assert torch.equal(after.double(), before)


@pytest.mark.parametrize("mode", MODES)
def test_a_module_is_lifted_in_any_mode(mode: str) -> None:
    model = nn.Sequential(nn.Linear(4, 3, dtype=F64), nn.ReLU()).eval()
    with MODES[mode]():
        network = ni.lift(model, X)
    assert torch.equal(network(X), model(X))


def test_threads_at_once() -> None:
    """Three at a time, on the same network, which is compiled to programs by whoever comes first."""
    shared = ni.mlp((4, 3), dtype=F64)

    def solve(k: int) -> Tensor:
        return ni.invert(shared, Y * (1 + k), rule=ni.Fixed(0.1), tolerance=1e-3).x

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(solve, range(6)))
    assert all(torch.equal(solve(k), x) for k, x in enumerate(found))


def solved(_: int) -> list[list[float]]:
    torch.set_num_threads(1)
    found: list[list[float]] = WORKS["invert"](X, Y).tolist()
    return found


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_other_processes(method: str) -> None:
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.map(solved, [0]) == [EXPECTED["invert"].tolist()]


def alive() -> int:
    gc.collect()
    return sum(issubclass(type(each), Tensor) for each in gc.get_objects())


def test_tensors_do_not_pile_up() -> None:
    def some(count: int) -> int:
        for _ in range(count):
            WORKS["invert"](X, Y)
        return alive()

    assert some(5) >= some(45)


@pytest.mark.slow
def test_memory_does_not_grow_over_a_thousand_solves() -> None:
    resource = pytest.importorskip("resource")

    def after(count: int) -> int:
        for _ in range(count):
            WORKS["invert l1"](X, Y)
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    after(200)
    first = after(100)
    assert after(700) - first <= 4096  # kilobytes


@given(
    batch=st.integers(0, 3),
    channels=st.integers(1, 3),
    height=st.integers(2, 6),
    width=st.integers(2, 6),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    form=st.sampled_from(sorted(FORMS)),
    total_variation=st.booleans(),
)
@settings(max_examples=6)
def test_pictures_of_any_shape_dtype_and_form(
    batch: int, channels: int, height: int, width: int, dtype: torch.dtype, form: str, total_variation: bool
) -> None:
    """A few steps: the answer has the shape and the dtype of the input, and as many statuses as samples."""
    model = nn.Sequential(nn.Conv2d(channels, 2, 3, padding=1, dtype=dtype), nn.ReLU()).eval()
    network = ni.lift(model, torch.zeros(2, channels, height, width, dtype=dtype))
    y = FORMS[form](network(torch.rand(batch, channels, height, width, dtype=dtype)).detach())
    before = mark(y)
    regulariser = ni.TotalVariation() if total_variation else ni.Tikhonov()
    found = ni.invert(network, y, rule=ni.Fixed(0.1), regulariser=regulariser, max_steps=2, tolerance=1e-2)
    wanted = F64 if form == "array, other byte order" else dtype  # written as numbers of eight bytes
    assert found.x.shape == (batch, channels, height, width) and found.x.dtype == wanted and not found.x.requires_grad
    assert torch.isfinite(found.x).all() and len(found.status) == batch and mark(y) == before
