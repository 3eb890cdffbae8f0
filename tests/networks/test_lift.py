"""A lifted network equals the torch model; its affine nodes are linear maps with exact adjoints."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from netinverse.networks import LiftedNetwork, NetworkOutput, lift, load_network, mlp
from netinverse.prox import NonNegative, Zero
from netinverse.tensors import inner

torch.set_num_threads(1)


class Skip(nn.Module):
    """Two branches added, one module used twice, concatenation, slicing, pooling, padding, a buffer as a factor."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, padding=1)
        self.normalise = nn.BatchNorm2d(3)
        self.shared = nn.Conv2d(3, 3, 3, padding=1)
        self.back = nn.ConvTranspose2d(6, 2, 3, stride=2, padding=1, output_padding=1)
        self.last = nn.Linear(2 * 4 * 4, 5)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("scale", torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        a = torch.relu(self.normalise(self.first(x)))
        b = torch.relu(self.shared(a))
        c = a - self.scale * torch.relu(self.shared(b)) + 0.25
        d = functional.avg_pool2d(torch.cat([c, b], dim=1), 2)
        e = functional.pad(torch.relu(self.back(d)), (1, 1, 1, 1), value=0.3)[:, :, 1:-1, 1:-1]
        f = functional.avg_pool2d(e, 2).permute(0, 2, 3, 1)
        return torch.relu(self.last(self.drop(f.reshape(f.shape[0], -1))))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 9)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = x + functional.linear(torch.relu(self.inner(x)), self.inner.weight.T) / 4
        return x


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "skip": (Skip, (1, 8, 8)),
    "residual": (Residual, (6,)),
    "sequential": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3, stride=2), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(36, 7), nn.ReLU()),
        (2, 7, 7),
    ),
    "affine": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.Linear(4, 3)), (3, 4)),
    "activation first": (lambda: nn.Sequential(nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.ReLU()), (4,)),
    "smooth": (lambda: nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3), nn.ReLU()), (4,)),
    "smooth output": (lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.GELU()), (4,)),
    "unflatten": (
        lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Unflatten(1, (2, 2, 2)), nn.ConvTranspose2d(2, 1, 2)),
        (4,),
    ),
}


def model_of(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, tuple[int, ...]]:
    make, shape = MODELS[name]
    torch.manual_seed(0)
    model = make().to(dtype)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return model.eval(), shape


def random_like(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("example", [1, 2])
def test_lifted_network_equals_the_model_for_every_batch_size(
    name: str, dtype: torch.dtype, tolerance: float, example: int
) -> None:
    model, shape = model_of(name, dtype)
    network = lift(model, torch.zeros(example, *shape, dtype=dtype))
    assert network.input_shape == shape
    for batch in (1, 2, 50):
        x = random_like(batch, *shape, dtype=dtype)
        expected, found = model(x.clone()), network(x)
        assert found.dtype == dtype
        assert (found - expected).abs().max() <= tolerance * expected.abs().max()
        assert network.output_potential.prox(network.pre_activation(x)).equal(found)
        assert [tuple(u.shape) for u in network.activations(x)] == [(batch, *node.shape) for node in network.hidden]


@pytest.mark.parametrize("name", MODELS)
def test_affine_nodes_are_affine_with_exact_adjoints(name: str) -> None:
    model, shape = model_of(name)
    network = lift(model, torch.zeros(1, *shape, dtype=torch.float64))
    for node in network.nodes:
        if node.kind != "affine":
            continue
        inputs = tuple(random_like(3, *s, seed=i) for i, s in enumerate(node.input_shapes))
        zeros = tuple(torch.zeros_like(u) for u in inputs)
        y = random_like(3, *node.shape, seed=9)
        linear = node.linear(*inputs)
        assert torch.allclose(node(*inputs) - node(*zeros), linear, rtol=1e-12, atol=1e-12)
        assert node.linear(*zeros).abs().max() == 0
        adjoint = node.adjoint(y)
        left, right = inner(linear, y), sum((inner(u, g) for u, g in zip(inputs, adjoint, strict=True)), torch.zeros(3))
        scale = torch.linalg.vector_norm(linear) * torch.linalg.vector_norm(y)
        assert ((left - right).abs() <= 1e-12 * scale).all()
        for i, source in enumerate(node.inputs):
            part = node.map_from(source)
            size = inputs[i][0].numel()
            units = torch.eye(size, dtype=torch.float64).reshape(size, *node.input_shapes[i])
            truth = torch.linalg.matrix_norm(part(units).flatten(1), ord=2)
            assert truth <= part.norm_bound() <= 1.15 * truth + 1e-300
            assert (inner(part(inputs[i]), y) - inner(inputs[i], part.adjoint(y))).abs().max() <= 1e-12 * scale


def test_the_graph_of_a_skip_connection() -> None:
    model, shape = model_of("skip")
    network = lift(model, torch.zeros(1, *shape, dtype=torch.float64))
    assert [node.kind for node in network.hidden] == ["proximal"] * 5
    assert network.is_exactly_lifted
    assert max(len(node.inputs) for node in network.nodes if node.kind == "affine") == 3  # a, b and relu(shared(b))
    seen = {network.input_name}
    for node in network.nodes:
        assert set(node.inputs) <= seen, "nodes are in topological order"
        seen.add(node.name)
        if node.kind == "proximal":
            assert len(node.inputs) == 1
            assert node.potential == NonNegative()
    table = network.summary()
    assert all(node.name in table for node in network.nodes)
    assert "NonNegative" in table and "exactly lifted" in table


ACTIVATIONS = [
    nn.ReLU6(),
    nn.LeakyReLU(0.2),
    nn.PReLU(init=0.3),
    nn.Hardtanh(),
    nn.Hardsigmoid(),
    nn.Softshrink(0.3),
    nn.Tanh(),
    nn.Sigmoid(),
    nn.Softplus(),
    nn.Softplus(beta=2.0),
    nn.Softsign(),
    nn.ELU(),
    nn.ELU(0.7),
    nn.CELU(1.5),
    nn.SELU(),
    nn.Softmax(dim=1),
    nn.Softmax(dim=-1),
]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("last", [True, False])
def test_every_activation_of_the_catalogue_is_lifted(activation: nn.Module, last: bool) -> None:
    """A factor goes into the next affine map, a scale and a shift into the one before."""
    torch.manual_seed(0)
    layers = [nn.Linear(4, 6), activation] + ([] if last else [nn.Linear(6, 3), nn.ReLU()])
    model = nn.Sequential(*layers).double()
    network = lift(model.eval(), torch.zeros(1, 4, dtype=torch.float64))
    x = 3 * random_like(7, 4)
    assert torch.allclose(network(x), model(x), rtol=1e-12, atol=1e-12)
    assert torch.allclose(network.output_potential.prox(network.pre_activation(x)), model(x), rtol=1e-12, atol=1e-12)
    assert network.is_exactly_lifted
    assert len(network.hidden) == (1 if last else 2)


def test_smooth_nodes_are_named_as_such() -> None:
    model, shape = model_of("smooth")
    network = lift(model, torch.zeros(1, *shape, dtype=torch.float64))
    assert [node.kind for node in network.nodes] == ["affine", "smooth", "affine", "proximal"]
    assert not network.is_exactly_lifted
    assert "not exactly lifted" in network.summary()


@pytest.mark.parametrize("name", ["affine", "smooth output", "residual"])
def test_without_a_last_activation_the_pre_activation_is_the_output(name: str) -> None:
    model, shape = model_of(name)
    network = lift(model, torch.zeros(1, *shape, dtype=torch.float64))
    x = random_like(2, *shape)
    assert network.output_potential == Zero()
    assert network.pre_activation(x).equal(network(x))


def test_parameters_are_shared_and_astype_shares_nothing() -> None:
    model, shape = model_of("skip", torch.float32)
    network = lift(model, torch.zeros(1, *shape))
    assert {p.data_ptr() for p in network.parameters()} == {p.data_ptr() for p in model.parameters()}
    before = {k: v.clone() for k, v in model.state_dict().items()}
    double = network.astype(torch.float64)
    x = random_like(4, *shape)
    assert double.dtype == torch.float64 and network.dtype == torch.float32
    assert not any(p.requires_grad for p in double.parameters())
    assert all(p.requires_grad for p in network.parameters())
    assert torch.allclose(double(x).float(), model(x.float()), rtol=1e-4, atol=1e-5)
    assert double.astype(torch.float64)(x).equal(double(x))
    assert all(v.equal(before[k]) for k, v in model.state_dict().items())
    assert all(node.network is double for node in double.nodes)


def test_exported_programs_and_files(tmp_path: Path) -> None:
    model, shape = model_of("skip")
    x = random_like(3, *shape)
    program = torch.export.export(model, (x[:2],))  # batch size fixed at two
    torch.export.save(program, tmp_path / "model.pt2")
    for network in (lift(program), load_network(tmp_path / "model.pt2"), lift(str(tmp_path / "model.pt2"))):
        assert isinstance(network, LiftedNetwork)
        assert torch.allclose(network(x), model(x), rtol=1e-12, atol=1e-12)


def test_mlp_is_reproducible_and_has_the_sizes_asked_for() -> None:
    state = torch.get_rng_state()
    network = mlp((5, 7, 3), dtype=torch.float64, seed=4)
    assert torch.get_rng_state().equal(state)
    x = random_like(2, 5)
    assert network(x).equal(mlp((5, 7, 3), dtype=torch.float64, seed=4)(x))
    assert not network(x).equal(mlp((5, 7, 3), dtype=torch.float64, seed=5)(x))
    assert [tuple(p.shape) for p in network.parameters()] == [(7, 5), (7,), (3, 7), (3,)]
    assert network.dtype == torch.float64


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class TwoOut(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, 2 * x


class Mixing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0, keepdim=True)


class FunctionalDropout(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x, 0.5, training=True)


@pytest.mark.parametrize(
    ("model", "shape", "text"),
    [
        (
            nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)),
            (4,),
            r"training mode \(BatchNorm1d '1'\).*batch statistics.*model.eval\(\)",
        ),
        (nn.Sequential(nn.Dropout(0.1)), (4,), r"training mode \(Dropout '0'\).*model.eval\(\)"),
        (FunctionalDropout(), (4,), r"training mode \(native_dropout \(test_lift.py:\d+\)\).*model.eval\(\)"),
        (nn.Linear(4, 4), (5,), r"does not accept an example of shape \(5,\).*Pass an example shaped like one input"),
        (Two(), (4,), r"does not take exactly one input.*Wrap it in a module"),
        (TwoOut(), (4,), r'returns 2 values.*output="name", or wrap the model in a module'),
        (Mixing(), (4,), r"depends on the other samples.*sample by sample"),
        (nn.Linear(4, 4), (), r"example has shape \(2,\).*the batch comes first"),
    ],
)
def test_refusals_say_what_was_found_and_what_to_do(model: nn.Module, shape: tuple[int, ...], text: str) -> None:
    with pytest.raises(ValueError, match=r"(?s)lift: .*" + text):
        lift(model, torch.zeros(2, *shape))


@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU6(),
        nn.LeakyReLU(0.2),
        nn.PReLU(),
        nn.Hardtanh(),
        nn.Hardsigmoid(),
        nn.Softshrink(),
        nn.Softplus(),
        nn.ELU(),
        nn.CELU(0.5),
    ],
    ids=lambda a: type(a).__name__,
)
def test_a_lifted_network_in_a_model_keeps_its_activations(activation: nn.Module) -> None:
    """The potentials compute by torch's own functions, which capture knows: nothing becomes smooth on the way."""
    inside = lift(nn.Sequential(nn.Linear(4, 3), activation).double().eval(), torch.zeros(1, 4, dtype=torch.float64))
    around = lift(nn.Sequential(nn.Linear(5, 4).double(), inside), torch.zeros(1, 5, dtype=torch.float64))
    assert [node.kind for node in around.nodes] == ["affine", "proximal"]
    assert type(around.nodes[-1].potential) is type(inside.nodes[-1].potential)


def test_rounding_of_what_cancels_is_not_taken_for_a_mixed_batch() -> None:
    """An output of nearly 0 made of large terms comes out differently alone and in a batch, by their rounding."""
    probe = torch.randn((3, 4096), generator=torch.Generator().manual_seed(0), dtype=torch.float64)[0]
    wide = nn.Linear(4096, 64, bias=False, dtype=torch.float64)
    weight = 1e4 * torch.randn(64, 4096, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weight[1:] -= torch.outer(weight[1:] @ probe, probe) / (probe @ probe)
    wide.weight.data = weight
    assert lift(wide, torch.zeros(1, 4096, dtype=torch.float64)).is_exactly_lifted


def test_training_mode_of_modules_that_do_not_differ_is_no_matter() -> None:
    assert lift(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.zeros(1, 3)).is_exactly_lifted


def test_missing_example_and_wrong_types() -> None:
    with pytest.raises(ValueError, match=r"lift: example is missing.*Pass one input with the batch first"):
        lift(nn.Linear(2, 2))
    with pytest.raises(TypeError, match=r"lift: example has dtype torch.int64"):
        lift(nn.Linear(2, 2), torch.zeros(1, 2, dtype=torch.long))
    with pytest.raises(TypeError, match=r"lift: model is a int"):
        lift(3)  # type: ignore[arg-type]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"load_network: .*none\.pt2 is no file\. Pass the path of a \.pt2"):
        load_network(tmp_path / "none.pt2")


class Bomb:
    """Its unpickling leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pt2"])
def test_a_pickle_is_refused_and_never_opened(tmp_path: Path, zipped: bool, suffix: str) -> None:
    file = tmp_path / f"model{suffix}"
    torch.save(Bomb(tmp_path / "trace"), file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"(?s)pickle.*refused.*torch\.export\.export\(.*torch\.export\.save\(program"):
        load_network(file)
    assert not (tmp_path / "trace").exists()


def test_an_archive_with_a_hidden_pickle_is_refused(tmp_path: Path) -> None:
    """The exporter's own loader would open the example inputs freely if they are no plain tensors."""
    program = torch.export.export(nn.Linear(2, 2), (torch.zeros(2, 2),))
    torch.export.save(program, tmp_path / "good.pt2")
    torch.save(Bomb(tmp_path / "trace"), tmp_path / "bomb")
    with zipfile.ZipFile(tmp_path / "good.pt2") as good, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as bad:
        assert any("sample_inputs" in name for name in good.namelist())
        for name in good.namelist():
            bad.writestr(name, (tmp_path / "bomb").read_bytes() if "sample_inputs" in name else good.read(name))
    assert load_network(tmp_path / "good.pt2").is_exactly_lifted
    with pytest.raises(
        ValueError, match=r"load_network: .*bad\.pt2 holds Python objects .*sample_inputs.*Export the network again"
    ):
        load_network(tmp_path / "bad.pt2")
    assert not (tmp_path / "trace").exists()


def test_wrong_sizes_of_mlp() -> None:
    with pytest.raises(ValueError, match=r"mlp: sizes is \(3,\), but needs at least"):
        mlp((3,))
    with pytest.raises(ValueError, match=r"mlp: activation is 'gelu-ish', but must be one of"):
        mlp((3, 2), activation="gelu-ish")


def test_a_lifted_network_can_be_sent_to_another_process() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(48, 5)
    ).eval()
    lifted = lift(model, torch.zeros(2, 1, 8, 8))
    sent = pickle.loads(pickle.dumps(lifted))
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(sent(x), lifted(x)) and sent.summary() == lifted.summary()


def test_a_compiled_module_is_the_module_it_was_compiled_from() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU()).eval()
    x = torch.randn(4, 3)
    torch.testing.assert_close(lift(torch.compile(model), x)(x), model(x))


class Attention(nn.Module):
    """Three heads of fused attention over five tokens; fewer heads for keys and values, or a mask, as ``settings`` say."""

    def __init__(self, heads: int = 3, **settings: Any) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(6, 4 * n) for n in (3, heads, heads))
        self.settings = settings

    def forward(self, x: Tensor) -> Tensor:
        parts = (layer(x).unflatten(2, (-1, 4)).transpose(1, 2) for layer in (self.query, self.key, self.value))
        return functional.scaled_dot_product_attention(*parts, **self.settings).transpose(1, 2).flatten(2)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"is_causal": True, "scale": 0.7},
        {"attn_mask": torch.ones(5, 5, dtype=torch.bool).triu()},
        {"attn_mask": torch.linspace(-2, 2, 25, dtype=torch.float64).reshape(5, 5)},
        {"heads": 1, "enable_gqa": True},
    ],
    ids=["plain", "causal", "masked", "biased", "grouped"],
)
def test_fused_attention_is_lifted_and_has_both_products_with_its_derivative(settings: dict[str, Any]) -> None:
    """The fused kernel has no second derivative, which products with the derivative are taken as; what replaces it agrees."""
    torch.manual_seed(0)
    model, x = Attention(**settings).double().eval(), torch.randn(2, 5, 6, dtype=torch.float64)
    network = lift(model, x)
    with torch.no_grad():
        torch.testing.assert_close(network(x), model(x), rtol=1e-12, atol=1e-13)
    output, derivative = NetworkOutput(network).linearise(x)
    v, w, h = torch.randn_like(x), torch.randn_like(output), 1e-6
    with torch.no_grad():
        slope = (model(x + h * v) - model(x - h * v)) / (2 * h)
    torch.testing.assert_close(derivative(v), slope, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(inner(derivative(v), w), inner(v, derivative.adjoint(w)), rtol=1e-11, atol=1e-13)
