"""The network of the experiments is trained once for its settings, and a stored one is used only if it can be trusted."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import netinverse as ni
from experiments import (
    encoders,
    feature_inversion,
    figures,
    lifted_schemes,
    names,
    proximal_denoiser,
    rates,
    resnet,
    semiconvergence,
    shallow,
    sparse_weights,
    training,
)
from experiments.autoencoder import Settings, autoencoder
from experiments.benchmarks import digits, overhead, parallel, scaling, total_variation
from experiments.benchmarks.lifting import added_bytes
from experiments.benchmarks.measuring import Target, stored_targets, verdicts
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
    assert "resnet" not in names() and "stored" not in names()


def test_patches_to_test_with_share_no_pixel_with_those_learnt_from(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.arange(128.0)[None, :, None].expand(3, 128, 40)  # every pixel is the number of its row
    monkeypatch.setattr("experiments.resnet.pictures", lambda: {"a": rows, "b": rows})
    learnt, labels = resnet.patches(200, 0, train=True)
    tested, _ = resnet.patches(200, 0, train=False)
    assert learnt.shape == (400, 3, 32, 32) and labels.bincount().tolist() == [200, 200]
    assert learnt.max() == 95 and tested.min() == 96 and tested.max() == 127


def test_the_residual_network_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = resnet.classifier(resnet.SMOKE, tmp_path)
    monkeypatch.setattr("experiments.resnet._train", lambda *_: pytest.fail("trained although the weights are stored"))
    again = resnet.classifier(resnet.SMOKE, tmp_path)
    assert again.accuracy == trained.accuracy and not again.network.training
    for a, b in zip(again.network.state_dict().values(), trained.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_features_are_pictured_and_tabulated_depth_by_depth() -> None:
    row = feature_inversion.Row("stem", (16, 32, 32), 0.01, 30.0, 0.5, 0.25, 2.0, 0.95, 0.1, "CONVERGED")
    noise = (0.0, 0.01)
    rows = [
        feature_inversion.Row(**{**row.__dict__, "depth": depth, "relative_noise": r, "noise": 0.25 * (r > 0), "status": status})
        for depth, status in zip(feature_inversion.DEPTHS, ("CONVERGED", "CONVERGED", "CONVERGED", "UNREACHABLE"), strict=True)
        for r in noise
    ]
    truth = torch.rand(1, 3, 8, 8)
    figure = feature_inversion.pictures(truth, dict.fromkeys(feature_inversion.DEPTHS, truth.repeat(2, 1, 1, 1)), rows, noise)
    assert [axis.get_title() for axis in figure.axes[:5]] == ["truth", *feature_inversion.DEPTHS]
    assert [axis.get_xlabel() for axis in figure.axes[:5]] == ["", *["30.0 dB"] * 3, "30.0 dB\nunreachable"]
    assert len(feature_inversion.stability(rows).axes[0].get_legend().get_texts()) == 4
    assert feature_inversion.table(rows, 0.5).count("\n") == 9


def test_added_memory_counts_each_storage_once_and_none_of_the_models() -> None:
    model, own = torch.nn.Linear(3, 3, bias=False), torch.zeros(5)
    lifted = torch.nn.Module()
    lifted.weight = model.weight
    lifted.register_buffer("a", own)
    lifted.register_buffer("b", own[1:])
    assert added_bytes(lifted, model) == 20


def test_where_two_processes_are_worth_it_is_from_where_on_no_case_misses_it() -> None:
    speeds = {16: 1.7, 32: 1.5, 64: 1.6, 128: 1.9}
    rows = []
    for batch, speed in speeds.items():
        for turn, slow in enumerate((1.0, 3.0, 1.1)):  # a slow turn is slow for all
            times = {"one": slow, "data": slow / speed, "layers": slow}
            case = {"kind": "dense", "width": 8, "batch": batch, "turn": turn, "work": 10.0 * batch}
            rows += [{**case, "way": way, "wall": seconds, "own": seconds} for way, seconds in times.items()]
    table = parallel.speed_ups(rows)
    assert table["data"].tolist() == pytest.approx(list(speeds.values()))
    lines = parallel.beginnings(table)
    expected = (
        "shared batches, by the wall clock: 1.6 times one process from 640 operations a number on (3 of 4 cases, at most 1.90)"
    )
    assert lines[0] == expected
    assert "layers, by the wall clock: 1.6 times one process nowhere (0 of 4 cases, at most 1.00)" in lines[2]
    assert len(parallel.picture(table).axes) == 2


def test_work_for_each_number_is_counted_for_both_ways() -> None:
    """Dense layers: six operations a weight and sample against a gradient; two numbers a sample and unit of the cut."""
    network = ni.lift(parallel.made("dense", 200, 5), torch.zeros(2, 784))
    work = parallel.work_per_number(network, 32)
    assert work["data"] == pytest.approx(6 * 32, rel=0.3)
    weights = sum(p.numel() for p in network.parameters())
    assert work["layers"] == pytest.approx(6 * weights / (2 * 200), rel=0.3)


@pytest.mark.parametrize("regulariser", rates.REGULARISERS)
@pytest.mark.parametrize("activation", rates.ACTIVATIONS)
def test_truths_come_with_an_exact_source_element(activation: str, regulariser: str) -> None:
    """R(y) >= R(x) + <W^T v, y - x> for any y, so that W^T v is in dR(x); v is zero where the activation is constant."""
    network = rates.layer(activation, 64, 16, 1.0, seed=0)
    x, v = rates.truth_with_element(network, activation, regulariser, 0, side=4)
    truth = x.reshape(1, 1, 4, 4)
    p = (v @ rates.affine_of(network).weight).reshape_as(truth)
    slope = torch.func.jvp(network[2], (network[:2](truth),), (torch.ones(1, 64, dtype=torch.float64),))[1][0]
    assert (v[slope == 0] == 0).all() and (v != 0).any()
    generator = torch.Generator().manual_seed(0)
    for size in (1e-3, 1.0):
        other = truth + size * torch.randn(1000, 1, 4, 4, generator=generator, dtype=torch.float64)
        assert (
            ni.bregman_distance(rates.REGULARISERS[regulariser], other, truth.expand_as(other), p.expand_as(other)) > -1e-9
        ).all()


@pytest.mark.parametrize("layers", [1, 4, 20])
def test_the_convexity_of_plus_layers_is_that_of_the_formulas(layers: int) -> None:
    found = shallow.convexity(layers)
    assert found["rho_from_eigenvalues"] == pytest.approx(found["rho_formula"], rel=1e-6)
    assert found["weight_from_eigenvalues"] == pytest.approx(found["weight_formula"], rel=1e-9)
    if layers == 20:
        assert found["rho_formula"] == pytest.approx(187.4, abs=0.05)


def test_the_proximal_map_of_a_relu_penalty_is_the_best_point_of_a_lattice() -> None:
    a, b = torch.meshgrid(*[torch.linspace(-3, 3, 7, dtype=torch.float64)] * 2, indexing="ij")
    z, u = torch.meshgrid(*[torch.linspace(-4, 4, 401, dtype=torch.float64)] * 2, indexing="ij")

    def cost(z: torch.Tensor, u: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        penalty = ni.NonNegative().penalty(u.reshape(-1, 1), z.reshape(-1, 1)).reshape(z.shape)
        return 2 * penalty + 2.5 * ((z - a).square() + (u - b).square())

    found = lifted_schemes.prox_of_relu_penalty(a, b, torch.tensor(2.0, dtype=torch.float64), 5.0)
    least = torch.stack([cost(z, u, *point).min() for point in zip(a.flatten(), b.flatten(), strict=True)])
    assert (cost(*found, a, b).flatten() <= least + 1e-12).all()


def test_every_iterate_is_watched_and_a_rule_that_reads_them_picks_the_one_it_stops_at() -> None:
    network, truth = rates.layer("ReLU", 32, 16, 1.0, seed=0), torch.ones(1, 1, 4, 4, dtype=torch.float64)
    data, level = ni.add_noise(network(truth), relative=0.2)
    settings = {"input_shape": (1, 4, 4), "noise_level": level, "method": ni.Landweber(max_iterations=200)}
    watching = semiconvergence.Watching(1e-30)
    ni.invert(network, data, rule=watching, **settings)
    (trace,) = watching.traces
    stopped = ni.invert(network, data, rule=ni.DiscrepancyPrinciple(), **settings)
    index = int(ni.DiscrepancyPrinciple().pick(trace, stopped.noise_level).index)
    assert trace.x is not None and len(trace.x) == 200 and 0 < index < 199
    assert torch.equal(trace.x[index], stopped.x) and stopped.converged


def test_encoders_are_compared_with_the_ordinary_one_and_shown_with_their_bounds() -> None:
    size = encoders.SIZES["smoke"]
    row = {"rate": 1e-3, "error": 0.02, "decoder": 20.0, "accuracy": 0.9, "error_spread": 0.0, "accuracy_spread": 0.0}
    row |= {"amplification": 20.0, "worst": 30.0, "relative": 50.0, "rank": 300.0, "inversion_0.05": 20.0, "decoder_0.05": 19.0}
    better = {"error": 0.01, "accuracy": 0.95, "amplification": 1.0, "relative": 5.0, "inversion_0.05": 28.0}
    rows = [{"encoder": "ordinary", "bound": None, **row}, {"encoder": "plus layers", "bound": 1.0, **row, **better}]
    lines = encoders.table(rows, size).splitlines()
    assert "20 (none)" in lines[-3] and "1 (1)" in lines[-2]
    assert "20.0 times smaller (10.0 times, relative)" in lines[-1] and "+8.0 dB, error -50 %, accuracy +5.0 points" in lines[-1]
    assert len(encoders.picture(rows, size).axes) == 3


@pytest.mark.parametrize("name", [name for name, kind in encoders.KINDS.items() if kind.bound < float("inf")])
def test_an_encoder_keeps_the_bound_of_its_noise_amplification(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    network = encoders.KINDS[name].layers(6, 9)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    x = torch.rand(5, 784, generator=generator)
    assert ni.conditioning(network.eval(), x).noise_amplification.max() <= encoders.KINDS[name].bound * (1 + 1e-5)


def test_pruning_keeps_the_largest_weights_and_their_share() -> None:
    model = training.perceptron([40, 50])[0]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    sparse_weights._keep_largest(model)
    assert training.nonzero(model) == pytest.approx(0.05)
    weight, old = model.weight.detach(), before["weight"]
    assert torch.equal(weight[weight != 0], old[weight != 0])
    assert old[weight == 0].abs().max() < weight[weight != 0].abs().min()
    assert torch.equal(model.bias.detach(), before["bias"])


def test_the_seconds_to_an_accuracy_are_those_of_the_first_epoch_that_has_it() -> None:
    history = pd.DataFrame({"accuracy": [0.9, 0.96, 0.94, 0.97], "seconds": [1.0, 2.0, 3.0, 4.0]})
    assert training.seconds_to(history, 0.95) == 2.0
    assert training.seconds_to(history, 0.99) == float("inf")


def test_every_figure_of_the_page_is_one_that_a_script_makes() -> None:
    page = (figures.FOLDER.parent / "experiments.md").read_text("utf-8")
    made = {f"{name}-{figure}" for name, shown in figures.SHOWN.items() for figure in shown}
    made |= {f"{name}.txt" for name in figures.SHOWN}
    shown = set(re.findall(r"figures/([\w.-]+)", page))
    assert shown
    assert shown <= made
    assert {path.name for path in figures.FOLDER.iterdir()} == shown
    assert set(figures.SHOWN) <= set(names())


def test_a_figure_is_kept_with_what_its_script_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def main(size: str) -> None:
        folder = Path("out") / f"shallow-{size}"
        folder.mkdir(parents=True)
        for name in figures.SHOWN["shallow"]:
            (folder / name).write_bytes(name.encode())
        print(f"a table  \n{folder / 'result.json'}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shallow, "main", main)
    figures.made("shallow", tmp_path / "kept", "smoke")
    assert (tmp_path / "kept" / "shallow.txt").read_text() == "a table\n"
    assert (tmp_path / "kept" / "shallow-residual.png").read_bytes() == b"residual.png"


def test_a_figure_is_met_on_the_right_side_of_its_target_and_never_where_it_was_not_reached() -> None:
    assert Target("a", 10.0, 10.0, at_least=True).met and not Target("a", 9.9, 10.0, at_least=True).met
    assert Target("a", 1.25, 1.25, at_least=False).met and not Target("a", 1.3, 1.25, at_least=False).met
    none = Target("never reached", None, 1.25, at_least=False)
    assert not none.met and re.search(r"never reached .*none +at most 1.25 +not met", verdicts([none]))


def test_the_ratios_of_the_digits_compare_what_each_has_to_reach() -> None:
    """Adam is at 24 dB after 20 s, L-BFGS near its 25 after 8 s, the inversion at 26.5 after 2 s and at 25 after 1."""
    runs = [
        digits.Run("netinverse, a", None, "box", [1.0, 2.0], [25.5, 26.6]),
        digits.Run("netinverse, b", None, "box", [9.0], [26.9]),
        digits.Run("Adam", 0.1, "rate", [10.0, 20.0], [23.0, 24.1]),
        digits.Run("L-BFGS", 0.1, "box", [4.0, 8.0, 12.0], [20.0, 24.95, 25.0]),
        digits.Run("L-BFGS", 0.1, "no box", [1.0], [19.0]),
    ]
    assert [target.value for target in digits.targets(runs)] == [10.0, 4.0, 8.0]
    assert digits.targets(runs[2:])[0].value is None


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", [digits, overhead, scaling, total_variation], ids=lambda b: b.__name__)
def test_benchmarks_of_the_solvers_store_their_figures_beside_the_targets(benchmark: Any, tmp_path: Path) -> None:
    benchmark.main(size="smoke", out=tmp_path)
    name = benchmark.__name__.rsplit(".", 1)[-1]
    found = stored_targets(tmp_path, [name])
    assert found and all(target.value is None or target.value > 0 for target in found)


def test_turns_go_through_all_patches_and_stop_the_clock_between_them() -> None:
    size = dataclasses.replace(proximal_denoiser.SIZES["smoke"], turn=5)
    turns = proximal_denoiser.Turns(ni.proximal_denoiser(1, 4, 2), size)
    seen = [truth for _ in range(2) for _, truth in turns]
    assert torch.equal(torch.cat(seen).sum((1, 2, 3)).sort().values, turns.data[1].sum((1, 2, 3)).sort().values)
    assert len(turns.curve) == 3 and turns.curve[0][0] == 0 and turns.seconds == turns.curve[-1][0] < 1
    noise = turns.data[0] - turns.data[1]
    assert float(noise.std()) == pytest.approx(25 / 255, rel=0.05)


def test_total_variation_takes_the_best_weight_for_the_picture() -> None:
    truth = torch.zeros(1, 1, 24, 24)
    truth[..., 12:] = 1
    z = proximal_denoiser.noisy(truth, 0)
    best = proximal_denoiser.psnr(truth, proximal_denoiser.total_variation(z, truth))
    for weight in proximal_denoiser.TV_WEIGHTS:
        found = torch.as_tensor(proximal_denoiser.denoise_tv_chambolle(z[0, 0].numpy(), weight))[None, None]
        assert proximal_denoiser.psnr(truth, found) <= best
    assert best > proximal_denoiser.psnr(truth, z) + 5
