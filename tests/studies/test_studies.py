"""Studies: the same numbers however they are computed, nothing lost, every bound kept, and slopes that are the truth's."""

from __future__ import annotations

import gc
import os
import pickle
import re
import signal
import warnings
import weakref
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import netinverse as ni
from netinverse.diagnostics.kinks import on_a_kink
from netinverse.studies.batches import batches_of
from netinverse.studies.folder import Folder, StudyWarning
from netinverse.studies.plan import Plan
from netinverse.studies.rates import fit
from netinverse.studies.sweep import sweep

F64 = torch.float64
KEY = ["rule", "level", "seed", "sample"]


def layer(rows: int = 24, columns: int = 8, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(columns, rows), activation()).double().eval()


def truths(samples: int = 2, columns: int = 8) -> Tensor:
    return torch.randn(samples, columns, generator=torch.Generator().manual_seed(1), dtype=F64)


def small(**arguments: Any) -> ni.Study:
    settings: dict[str, Any] = {"noise_levels": [0.01, 0.1], "regulariser": ni.Tikhonov(), "seeds": 2, "batch_size": 3}
    return ni.stability_study(layer(), truths(), **{**settings, **arguments})


@cache
def reference() -> pd.DataFrame:
    return small().table


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), expected.drop(columns="seconds"), check_exact=True)


def test_a_row_is_the_inversion_that_a_user_would_have_run() -> None:
    study = small()
    assert study.rules == ("DiscrepancyPrinciple",) and len(study.table) == 2 * 2 * 2
    row = study.table.query("level == 1 and seed == 1 and sample == 1").iloc[0]
    clean = layer()(truths()).detach()
    data, level = ni.add_noise(clean, relative=0.1 / clean.norm(dim=1), seed=1)
    result = ni.invert(layer(), data[1:], input_shape=(8,), noise_level=level[1:], regulariser=ni.Tikhonov(), tolerance=1e-4)
    assert row["noise_level"] == pytest.approx(0.1) and row["status"] == result.status[0].name
    assert row["alpha"] == pytest.approx(float(result.alpha), rel=1e-9)
    assert row["error"] == pytest.approx(float((result.x[0] - truths()[1]).norm()), rel=1e-6)
    assert row["residual"] == pytest.approx(float(result.residual), rel=1e-9)


def test_relative_levels_are_shares_of_the_norm_of_the_data() -> None:
    table = small(relative=True).table
    assert sorted(table["relative_noise"].round(12).unique()) == [0.01, 0.1]


def test_exact_data_are_inverted_once_whatever_the_number_of_seeds() -> None:
    table = small(noise_levels=[0.0, 0.1], seeds=3, rule=[ni.DiscrepancyPrinciple(), ni.APriori()]).table
    counts = table.groupby(["rule", "level"]).size()
    assert counts.xs(0, level="level").tolist() == [2, 2] and counts.xs(1, level="level").tolist() == [6, 6]
    exact = table[table.level == 0]
    assert (exact.seed == 0).all() and (exact.noise_level == 0).all() and (exact.alpha > 0).all()


def test_any_cut_into_batches_and_processes_gives_the_same_numbers() -> None:
    assert_same(small(jobs=2).table, reference())
    whole = small(batch_size=100).table
    numbers = ["alpha", "error", "residual", "bregman_distance", "bound"]
    np.testing.assert_allclose(whole[numbers], reference()[numbers], rtol=1e-6)


@pytest.mark.slow
def test_the_workers_of_a_dask_cluster_give_the_same_numbers() -> None:
    import joblib
    from dask.distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster), joblib.parallel_config(backend="dask"):
        assert_same(small().table, reference())


class Interrupted(Exception):
    pass


def test_an_interrupted_study_goes_on_and_computes_no_cell_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = reference()
    computed: list[int] = []
    work = Plan.work

    def counted(plan: Plan, number: int) -> pd.DataFrame:
        if len(computed) == stop:
            raise Interrupted
        computed.append(number)
        return work(plan, number)

    monkeypatch.setattr(Plan, "work", counted)
    stop = 2
    with pytest.raises(Interrupted):
        small(folder=tmp_path / "study")
    stop = -1
    assert_same(small(folder=tmp_path / "study").table, expected)
    assert computed == [0, 1, 2]
    assert_same(small(folder=tmp_path / "study").table, expected)
    assert computed == [0, 1, 2]


def test_a_folder_of_another_configuration_is_refused_and_stays(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    small(folder=folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for other in ({"seeds": 3}, {"noise_levels": [0.01, 0.2]}, {"rule": ni.DiscrepancyPrinciple(tau=1.5)}, {"kind": "uniform"}):
        with pytest.raises(ValueError, match=r"of another configuration \(.*differ\), so nothing was computed or overwritten"):
            small(folder=folder, **other)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists and holds no study"):
        small(folder=tmp_path / "other")


def test_a_damaged_cell_is_computed_again(tmp_path: Path) -> None:
    small(folder=tmp_path / "study")
    cell = tmp_path / "study" / "cell-00001.parquet"
    cell.write_bytes(cell.read_bytes()[:100])
    with pytest.warns(StudyWarning, match="cannot be read.*computed again"):
        assert_same(small(folder=tmp_path / "study").table, reference())


def test_a_full_disk_costs_the_folder_and_not_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("netinverse.studies.stability.write_table", full)
    with pytest.warns(StudyWarning, match="could not be written.*No space left"):
        assert_same(small(folder=tmp_path / "study").table, reference())
    assert [path.name for path in (tmp_path / "study").iterdir()] == ["settings.json"]


def dies_once(marker: Path, number: int) -> int:
    if number == 1 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


class DiesOnce:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __call__(self, number: int) -> int:
        return dies_once(self.marker, number)


def test_the_cell_of_a_worker_that_dies_is_computed_by_another(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = sweep(DiesOnce(tmp_path / "died"), 4, folder=None, jobs=2, progress=False, title="")
    assert found == [0, 1, 4, 9] and (tmp_path / "died").exists()


@pytest.mark.slow
def test_the_cell_of_a_dask_worker_that_dies_is_computed_by_another(tmp_path: Path) -> None:
    import joblib
    from dask.distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster), joblib.parallel_config(backend="dask"):
        found = sweep(DiesOnce(tmp_path / "died"), 4, folder=None, jobs=None, progress=False, title="")
    assert found == [0, 1, 4, 9] and (tmp_path / "died").exists()


def test_what_the_work_raises_is_raised() -> None:
    def fails(number: int) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        sweep(fails, 2, folder=None, jobs=1, progress=False, title="")


def test_a_cell_that_is_written_halfway_is_no_cell(tmp_path: Path) -> None:
    def half(value: str, path: Path) -> None:
        path.write_text(value[:2])
        raise Interrupted

    folder: Folder[str] = Folder(tmp_path, ".txt", half, Path.read_text)
    with pytest.raises(Interrupted):
        folder.keep(0, "whole")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("slope", [0.5, 1.0])
def test_the_rate_of_a_power_law_is_its_power(slope: float) -> None:
    generator = np.random.default_rng(0)
    levels, constants = np.logspace(-4, -1, 7), generator.lognormal(size=20)
    rows = [
        {"level": i, "noise_level": d, "sample": s, "seed": 0, "error": c * d**slope}
        for i, d in enumerate(levels)
        for s, c in enumerate(constants)
    ]
    exact = fit(pd.DataFrame(rows), "error")
    assert exact.slope == pytest.approx(slope, abs=1e-12) and exact.high - exact.low < 1e-9 and exact.levels == 7
    noisy = pd.DataFrame(rows)
    noisy["error"] *= generator.lognormal(sigma=0.5, size=len(noisy))
    rate = fit(noisy, "error")
    assert rate.low < slope < rate.high and 0 < rate.high - rate.low < 0.3
    assert re.fullmatch(r"error ~ noise\^[\d.]+ \[[\d.]+, [\d.]+\] over 7 noise levels", str(rate))


def test_the_interval_of_the_rate_covers_the_truth_as_often_as_it_says() -> None:
    """The truths differ by a factor and, each on its own, in their slope; 95 % of the intervals hold the mean slope."""
    generator = np.random.default_rng(0)
    levels, hits = np.logspace(-3, -1, 5), 0
    for _ in range(200):
        slopes = generator.normal(1.0, 0.2, 25)
        rows = [
            {"level": i, "noise_level": d, "sample": s, "seed": 0, "error": d**p}
            for i, d in enumerate(levels)
            for s, p in enumerate(slopes)
        ]
        rate = fit(pd.DataFrame(rows), "error", repeats=300)
        hits += rate.low <= 1.0 <= rate.high
    assert 0.88 <= hits / 200 <= 0.99


def test_too_few_levels_have_no_slope_and_say_so() -> None:
    rate = small().rate("error")
    assert np.isnan(rate.slope) and rate.levels == 2 and "no slope, since a line needs 3 noise levels" in str(rate)


def test_errors_fall_with_the_noise_and_no_bound_is_broken() -> None:
    study = ni.convergence_study(layer(40, 10), truths(6, 10), regulariser=ni.Tikhonov(), seeds=3)
    assert study.bounded >= 100 and len(study.violations) == 0
    for rule in ("APriori", "DiscrepancyPrinciple"):
        assert study.rate("error", rule).slope > 0.75
    broken = replace(study, table=study.table.assign(bound=study.table["bregman_distance"] / 2))
    assert len(broken.violations) > 0.9 * study.bounded
    with pytest.raises(ValueError, match="rule is None, but the study has 'APriori', 'DiscrepancyPrinciple'"):
        study.rate("error")
    with pytest.raises(ValueError, match="no column of numbers"):
        study.rate("status", "APriori")


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "size"), [(nn.ReLU, 0.5), (nn.Tanh, 0.5), (nn.Softshrink, 4.0)])
def test_a_thousand_rows_with_exact_source_elements_keep_their_bounds(activation: type[nn.Module], size: float) -> None:
    levels = np.logspace(-4, -1, 6).tolist()
    study = ni.convergence_study(
        layer(60, 12, activation), size * truths(20, 12), noise_levels=levels, regulariser=ni.Tikhonov(), seeds=6, tolerance=1e-6
    )
    assert study.bounded >= 1000 and len(study.violations) == 0


def test_behind_two_layers_the_bound_that_needs_no_condition_is_kept() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        deep = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 24), nn.ReLU()).double().eval()
    study = ni.stability_study(deep, truths(3, 6), noise_levels=[0.01, 0.1], regulariser=ni.Tikhonov(), tolerance=1e-6)
    rows = study.table[study.table["bound"].notna()]
    assert set(rows["bound_kind"]) == {"a posteriori"} and len(rows) == 6 and len(study.violations) == 0


def test_worst_case_noise_is_amplified_more_than_random_noise() -> None:
    random, worst = (
        small(kind=kind, seeds=1, noise_levels=[0.001], rule=ni.Fixed(1e-6)).table for kind in ("gaussian", "worst-case")
    )
    assert (worst["error"] > random["error"]).all()


def test_a_study_is_the_same_after_saving(tmp_path: Path) -> None:
    study = small(rule={"a": ni.Fixed(0.1), "b": ni.DiscrepancyPrinciple()})
    study.save(tmp_path / "study.parquet")
    again = ni.Study.load(tmp_path / "study.parquet")
    pd.testing.assert_frame_equal(again.table, study.table)
    assert again.settings == study.settings and again.notes == study.notes and again.rules == ("a", "b")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="is no study"):
        ni.Study.load(tmp_path / "bad.parquet")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "foreign.parquet")
    with pytest.raises(ValueError, match="is no study"):
        ni.Study.load(tmp_path / "foreign.parquet")
    with pytest.raises(ValueError, match=r"must end in \.parquet"):
        study.save(tmp_path / "study.csv")
    with pytest.raises(FileNotFoundError, match="Make it first"):
        study.save(tmp_path / "nowhere" / "study.parquet")


def test_the_report_is_one_page_that_needs_nothing_else(tmp_path: Path) -> None:
    study = small(noise_levels=[0.001, 0.01, 0.1])
    study.report(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text("utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert not re.search(r"(src|href)=\"(?!data:)", text) and text.count("data:image/png;base64,") == 1
    for wanted in (
        "error ~ noise^",
        f"0 of {study.bounded} bounds violated",
        "CONVERGED",
        ni.__version__,
        torch.__version__,
        "Tikhonov()",
    ):
        assert wanted in text, wanted


def test_the_picture_shows_each_rule_its_bound_and_the_reference_slopes() -> None:
    study = small(noise_levels=[0.001, 0.01, 0.1])
    left, right = study.plot().axes
    assert [line.get_label() for line in left.get_lines()] == ["DiscrepancyPrinciple", "slope 0.5", "slope 1"]
    assert {"DiscrepancyPrinciple, bound", "DiscrepancyPrinciple, gap/alpha"} <= {line.get_label() for line in right.get_lines()}
    drawn = left.get_lines()[0].get_ydata()
    np.testing.assert_allclose(drawn, study.table.groupby("level")["relative_error"].median())
    assert len(ni.stability_study(layer(), truths(), noise_levels=[0.0], regulariser=ni.Tikhonov()).plot().axes) == 1


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"noise_levels": []}, ValueError, "at least one number"),
    ({"noise_levels": [0.1, 0.01]}, ValueError, "must rise"),
    ({"noise_levels": [0.1, 0.1]}, ValueError, "must rise"),
    ({"noise_levels": [-0.1, 0.1]}, ValueError, "zero or positive"),
    ({"noise_levels": [0.1, float("nan")]}, ValueError, "zero or positive, and finite"),
    ({"noise_levels": "low"}, TypeError, "must be numbers"),
    ({"seeds": 0}, ValueError, "seeds is 0"),
    ({"seeds": []}, ValueError, "at least one number"),
    ({"seeds": [1, 1]}, ValueError, "each only once"),
    ({"rule": []}, ValueError, "rule is empty"),
    ({"rule": [ni.Fixed(0.1), ni.Fixed(0.1)]}, ValueError, "the same rule twice"),
    ({"rule": 0.1}, TypeError, r"rule is 0\.1, a float.*ni\.Fixed\(0\.1\)"),
    ({"rule": ni.Fixed}, TypeError, "class Fixed"),
    ({"kind": "pink"}, ValueError, "kind is 'pink'"),
    ({"batch_size": 0}, ValueError, "batch_size is 0"),
    ({"tolerance": 0.0}, ValueError, "tolerance"),
    ({"constraint": ni.Box(0.0, 0.1)}, ValueError, "truth lies outside the constraint in samples 0, 1"),
    ({"regulariser": ni.TotalVariation()}, ValueError, "TotalVariation"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG, ids=[f"{next(iter(w[0]))}-{i}" for i, w in enumerate(WRONG)])
def test_what_cannot_be_studied_is_one_clear_error(
    arguments: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        small(folder=tmp_path / "study", **arguments)
    assert not (tmp_path / "study").exists()


def test_a_source_condition_that_fails_is_a_note() -> None:
    flat = nn.Sequential(nn.Linear(8, 3), nn.ReLU()).double().eval()
    study = ni.stability_study(flat, truths(), noise_levels=[0.01], regulariser=ni.Tikhonov())
    assert "source condition fails for samples 0, 1" in study.notes[0] and study.notes[0] in study.summary()


def test_a_truth_where_the_network_has_no_derivative_is_studied_and_said() -> None:
    """Zero input and no biases: every hidden ReLU is on its corner. The bound that needs no derivative holds there too."""
    deep = nn.Sequential(nn.Linear(8, 12, bias=False), nn.ReLU(), nn.Linear(12, 14, bias=False), nn.Tanh()).double().eval()
    truth = torch.stack([torch.zeros(8, dtype=F64), truths(1)[0]])
    study = ni.stability_study(deep, truth, noise_levels=[0.1], regulariser=ni.Tikhonov(), rule=ni.Fixed(0.1))
    assert [note for note in study.notes if "not differentiable at the truth of sample 0: its source element" in note]
    assert study.table["error"].notna().all() and len(study.violations) == 0
    smooth = nn.Sequential(nn.Linear(8, 12, bias=False), nn.Tanh(), nn.Linear(12, 14, bias=False), nn.ReLU()).double().eval()
    assert not on_a_kink(ni.lift(smooth, truth), truth).any() and not on_a_kink(ni.lift(deep, truth), truth[:0]).any()


def test_a_method_without_a_bound_says_so() -> None:
    study = small(method=ni.Landweber(), noise_levels=[0.1])
    assert "no bounds" in study.notes[0] and study.bounded == 0 and study.table["error"].notna().all()


def data_set(folder: Path, data: Any, **arguments: Any) -> ni.InvertedDataSet:
    settings: dict[str, Any] = {"input_shape": (8,), "noise_level": np.linspace(0.05, 0.1, 7), "regulariser": ni.Tikhonov()}
    return ni.invert_data_set(layer(), data, folder, **{**settings, "tolerance": 1e-4, "progress": False, **arguments})


def seven() -> Tensor:
    return layer()(truths(7)).detach() + 0.01


def whole() -> Tensor:
    levels = torch.linspace(0.05, 0.1, 7, dtype=F64)
    return ni.invert(layer(), seven(), input_shape=(8,), noise_level=levels, regulariser=ni.Tikhonov(), tolerance=1e-4).x


def test_a_data_set_larger_than_memory_is_inverted_batch_by_batch(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", seven().numpy())
    mapped = np.load(tmp_path / "data.npy", mmap_mode="r")
    found = data_set(tmp_path / "out", mapped, batch_size=3)
    assert len(found) == 3 and [len(part.status) for part in found] == [3, 3, 1]
    torch.testing.assert_close(torch.cat([part.x for part in found]), whole(), rtol=1e-6, atol=1e-8)
    written = found.paths[1].stat().st_mtime_ns
    again = data_set(tmp_path / "out", mapped, batch_size=3)
    assert again.paths[1].stat().st_mtime_ns == written and torch.equal(again[1].x, found[1].x)
    with pytest.raises(ValueError, match="another configuration"):
        data_set(tmp_path / "out", mapped, batch_size=3, noise_level=0.1)
    with pytest.raises(ValueError, match=r"another configuration \(batches differ\)"):
        data_set(tmp_path / "out", mapped, batch_size=2)
    assert len(data_set(tmp_path / "none", seven()[:0], noise_level=0.1)) == 0


def test_an_array_on_the_disk_is_sent_to_other_processes_as_its_place(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", np.arange(60_000.0).reshape(6000, 10))
    for mapped in (np.load(tmp_path / "data.npy", mmap_mode="r"), np.load(tmp_path / "data.npy", mmap_mode="r")[2:]):
        batches = batches_of(mapped, 100)
        for number in (0, 59):
            torch.testing.assert_close(
                batches.batch(number), torch.from_numpy(np.array(mapped[number * 100 : number * 100 + 100]))
            )
        assert sum(batches.sizes) == len(mapped)
    assert len(pickle.dumps(batches_of(np.load(tmp_path / "data.npy", mmap_mode="r"), 100))) < 1000


def test_no_result_of_a_data_set_is_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[Any]] = []
    most = 0

    def inverted(*arguments: Any, **settings: Any) -> ni.Reconstruction:
        nonlocal most
        most = max(most, sum(ref() is not None for ref in alive))
        result = ni.invert(*arguments, **settings)
        alive.append(weakref.ref(result))
        return result

    monkeypatch.setattr("netinverse.studies.data_set.invert", inverted)
    assert len(data_set(tmp_path / "out", seven(), batch_size=1)) == 7 == len(alive)
    gc.collect()
    assert most <= 2 and sum(ref() is not None for ref in alive) == 0


@pytest.mark.parametrize("labels", [False, True])
def test_a_loader_is_a_data_set_in_its_own_batches(tmp_path: Path, labels: bool) -> None:
    columns = (seven(), torch.arange(7)) if labels else (seven(),)
    loader = DataLoader(TensorDataset(*columns), batch_size=3)
    found = data_set(tmp_path / "out", loader)
    assert [len(part.status) for part in found] == [3, 3, 1]
    torch.testing.assert_close(torch.cat([part.x for part in found]), whole(), rtol=1e-6, atol=1e-8)
    plain = DataLoader(list(seven()), sampler=[6, 0, 3], batch_size=2)  # type: ignore[arg-type]
    some = data_set(tmp_path / "some", plain, noise_level=np.linspace(0.05, 0.1, 7)[[6, 0, 3]], jobs=2)
    torch.testing.assert_close(torch.cat([part.x for part in some]), whole()[[6, 0, 3]], rtol=1e-6, atol=1e-8)


class Stream(IterableDataset[Tensor]):
    def __iter__(self) -> Any:
        return iter(seven())


LOADERS: dict[str, tuple[Any, type[Exception], str]] = {
    "shuffled": (lambda: DataLoader(TensorDataset(seven()), 3, shuffle=True), ValueError, "another order.*shuffle=False"),
    "stream": (lambda: DataLoader(Stream(), 3), TypeError, "only one after the other.*map-style"),
    "no batches": (lambda: DataLoader(TensorDataset(seven()), batch_size=None), TypeError, "only one after the other"),
    "named": (lambda: DataLoader([{"x": x} for x in seven()], 3), TypeError, "batch of the DataLoader is a dict.*collate_fn"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", LOADERS)
def test_a_loader_whose_batches_have_no_number_is_refused(tmp_path: Path, name: str) -> None:
    make, error, message = LOADERS[name]
    with pytest.raises(error, match=f"invert_data_set: {'' if name == 'named' else 'the DataLoader'}.*{message}"):
        data_set(tmp_path / "out", make())
    assert not (tmp_path / "out").exists()


def test_a_full_disk_stops_the_inversion_of_a_data_set_and_what_is_done_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, calls = ni.Reconstruction.save, 0

    def full(result: ni.Reconstruction, path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device")
        save(result, path)

    monkeypatch.setattr(ni.Reconstruction, "save", full)
    with pytest.raises(OSError, match=r"cell-00001.npz could not be written \(.*No space left.*Make room and call again"):
        data_set(tmp_path / "out", seven(), batch_size=3)
    kept = tmp_path / "out" / "cell-00000.npz"
    written = kept.stat().st_mtime_ns
    assert len(list((tmp_path / "out").glob("cell-*"))) == 1
    found = data_set(tmp_path / "out", seven(), batch_size=3)
    assert kept.stat().st_mtime_ns == written
    torch.testing.assert_close(torch.cat([part.x for part in found]), whole(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"data": iter([1.0])}, TypeError, "must have a length and slices"),
        ({"noise_level": np.ones(3)}, ValueError, "noise_level has 3 values, but there are 7 samples"),
        ({"speed": 3}, TypeError, "no argument speed"),
        ({"batch_size": 0}, ValueError, "batch_size is 0"),
        ({"data": DataLoader(TensorDataset(torch.ones(7, 24))), "batch_size": 3}, ValueError, "makes its own batches"),
    ],
)
def test_what_is_no_data_set_is_one_clear_error(
    arguments: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"data": np.ones((7, 24)), "input_shape": (8,), "noise_level": 0.1, **arguments}
    with pytest.raises(error, match=message):
        ni.invert_data_set(layer(), given.pop("data"), tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_the_worst_noise_has_one_row_whatever_the_seeds() -> None:
    """It is one direction: repeated, it would narrow the intervals and count each bound many times."""
    once, often = (small(kind="worst-case", seeds=n, noise_levels=[0.001, 0.01], rule=ni.Fixed(1e-4)).table for n in (1, 4))
    assert len(often) == len(once) and (often["error"].to_numpy() == once["error"].to_numpy()).all()
