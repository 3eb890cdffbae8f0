"""The command line: what it writes, and one line with exit code 2 for input that cannot be used."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import experiments
import netinverse as ni
from netinverse import cli

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved network of 12 -> 8 numbers and three of its outputs, with noise of norm 0.05."""
    folder = tmp_path_factory.mktemp("cli")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 8)).double().eval()
        truth = torch.rand(3, 12, dtype=torch.float64)
    clean = network(truth).detach()
    torch.export.save(torch.export.export(network, (truth,)), folder / "model.pt2")
    data = clean + 0.05 * torch.nn.functional.normalize(torch.ones_like(clean), dim=1)
    np.save(folder / "data.npy", data.numpy())
    np.savez(folder / "one.npz", codes=data.numpy())
    np.savez(folder / "two.npz", a=data.numpy(), b=data.numpy())
    np.save(folder / "levels.npy", np.full(3, 0.05))
    np.save(folder / "nan.npy", np.where(np.eye(3, 8) > 0, np.nan, data.numpy()))
    np.save(folder / "wide.npy", np.zeros((3, 9)))
    np.save(folder / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(folder / "text.npy", np.array(["a", "b"]))
    (folder / "model.pkl").write_bytes(pickle.dumps({"a": 1}))
    (folder / "pickle.pt2").write_bytes(pickle.dumps({"a": 1}))
    (folder / "pickle.npy").write_bytes(pickle.dumps([1.0, 2.0]))
    torch.save(network.state_dict(), folder / "weights.pt2")
    (folder / "empty.npy").write_bytes(b"")
    return folder


@pytest.fixture
def run(files: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    monkeypatch.chdir(files)
    return lambda line: cli.main(line.split())


@pytest.mark.parametrize("command", ["stability --noise-levels 0.02,0.05,0.1", "rates --noise-levels 0.001,0.01,0.1"])
def test_a_study_writes_its_table_picture_and_page(
    command: str, run: Callable[[str], int], files: Path, capsys: Captured
) -> None:
    np.save(files / "truth.npy", np.random.default_rng(0).random((2, 12)))
    out = f"out/{command.split()[0]}"
    line = f"study {command} model.pt2 truth.npy -o {out} --rule discrepancy --rule a-priori --tolerance 1e-2 --no-progress"
    assert run(line) == 0
    study = ni.Study.load(files / out / "study.parquet")
    assert study.rules == ("discrepancy", "a-priori") and len(study.table) == 2 * 3 * 2
    assert {"report.html", "study.png", "study.parquet", "cells"} == {path.name for path in (files / out).iterdir()}
    said = capsys.readouterr().out
    assert "report.html" in said and "discrepancy: error ~ noise^" in said
    assert run(f"{line} --json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 12 and set(found["rates"]) == {"discrepancy", "a-priori"} and len(found["files"]) == 3
    assert run(f"{line} --seeds 2") == 2
    assert "another configuration" in capsys.readouterr().err
    assert run(f"study stability model.pt2 truth.npy -o {out}2 --noise-levels a,b") == 2
    assert "--noise-levels is 'a,b'" in capsys.readouterr().err


def test_invert_goes_on_from_its_checkpoint(run: Callable[[str], int], files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netinverse.checkpoints.EVERY", 0.0)
    line = "invert model.pt2 data.npy -o out/kept.npz --noise-level 0.05 --tolerance 1e-2 --checkpoint work.npz --no-progress"
    assert run(line) == 0 and (files / "work.npz").exists()
    first = ni.Reconstruction.load(files / "out" / "kept.npz")
    assert run(line) == 0
    assert torch.equal(ni.Reconstruction.load(files / "out" / "kept.npz").x, first.x)
    assert run(f"{line} --regulariser l1") == 2


def test_invert_writes_the_reconstruction_that_python_computes(run: Callable[[str], int], files: Path, capsys: Captured) -> None:
    assert run("invert model.pt2 data.npy -o out/result.npz --noise-level 0.05 --tolerance 1e-2 --no-progress") == 0
    found = ni.Reconstruction.load(files / "out" / "result.npz")
    data = torch.from_numpy(np.load(files / "data.npy"))
    expected = ni.invert(files / "model.pt2", data, noise_level=0.05, tolerance=1e-2)
    torch.testing.assert_close(found.x, expected.x)
    assert found.x.shape == (3, 12)
    assert found.summary() in capsys.readouterr().out


def test_one_noise_level_for_each_sample_is_read_from_a_file(run: Callable[[str], int], files: Path) -> None:
    assert run("invert model.pt2 one.npz -o a.npz --noise-level levels.npy --tolerance 1e-2") == 0
    assert run("invert model.pt2 one.npz -o b.npz --noise-level 0.05 --tolerance 1e-2") == 0
    torch.testing.assert_close(ni.Reconstruction.load(files / "a.npz").x, ni.Reconstruction.load(files / "b.npz").x)


def test_a_fixed_weight_needs_no_noise_level(run: Callable[[str], int], files: Path) -> None:
    assert run("invert model.pt2 data.npy -o fixed.npz --alpha 0.25 --no-progress") == 0
    assert ni.Reconstruction.load(files / "fixed.npz").alpha.tolist() == [0.25] * 3


def test_the_box_holds(run: Callable[[str], int], files: Path) -> None:
    assert run("invert model.pt2 data.npy -o box.npz --alpha 0.01 --lower 0.2 --upper 0.7 --no-progress") == 0
    x = ni.Reconstruction.load(files / "box.npz").x
    assert x.min() >= 0.2
    assert x.max() <= 0.7


def test_one_sided_bounds_hold(run: Callable[[str], int], files: Path) -> None:
    assert run("invert model.pt2 data.npy -o low.npz --alpha 0.01 --lower 0.3 --no-progress") == 0
    assert ni.Reconstruction.load(files / "low.npz").x.min() >= 0.3
    assert run("invert model.pt2 data.npy -o high.npz --alpha 0.01 --upper 0.3 --no-progress") == 0
    assert ni.Reconstruction.load(files / "high.npz").x.max() <= 0.3


def test_plot_writes_a_picture(run: Callable[[str], int], files: Path) -> None:
    assert run("invert model.pt2 data.npy -o p.npz --alpha 0.1 --plot pictures/p.png --no-progress") == 0
    assert (files / "pictures" / "p.png").read_bytes().startswith(b"\x89PNG")


def test_inspect_prints_the_lifted_structure(run: Callable[[str], int], files: Path, capsys: Captured) -> None:
    assert run("inspect model.pt2") == 0
    printed = capsys.readouterr().out
    assert "affine" in printed
    assert "proximal" in printed


def test_inspect_as_json_is_the_lifted_network(run: Callable[[str], int], files: Path, capsys: Captured) -> None:
    assert run("inspect model.pt2 --json") == 0
    found = json.loads(capsys.readouterr().out)
    network = ni.load_network(files / "model.pt2")
    assert [(n["name"], n["kind"], tuple(n["shape"]), tuple(n["inputs"])) for n in found["nodes"]] == [
        (n.name, n.kind, n.shape, n.inputs) for n in network.nodes
    ]
    assert found["parameters"] == 12 * 10 + 10 + 10 * 8 + 8
    assert found["is_exactly_lifted"] is True
    assert found["input"]["shape"] == [12]
    assert found["output"]["shape"] == [8]
    assert found["dtype"] == "float64"


def test_inspect_up_to_an_inner_module(run: Callable[[str], int], files: Path, capsys: Captured) -> None:
    assert run("inspect model.pt2 --output 1 --json") == 0
    nodes = json.loads(capsys.readouterr().out)["nodes"]
    assert [(n["kind"], n["shape"]) for n in nodes] == [("affine", [10]), ("proximal", [10])]
    assert nodes[-1]["module"] == "1"


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_inspect_draws_the_graph(suffix: str, run: Callable[[str], int], files: Path, capsys: Captured) -> None:
    assert run(f"inspect model.pt2 --plot drawn/graph.{suffix}") == 0
    assert "affine" in capsys.readouterr().out
    start = (files / "drawn" / f"graph.{suffix}").read_bytes()[:5]
    assert start == {"png": b"\x89PNG\r", "pdf": b"%PDF-", "svg": b"<?xml"}[suffix]


BAD = {
    "invert data.npy model.pt2 -o o.npz --noise-level 0.1": r"DATA model\.pt2 is a network.*MODEL comes first, DATA after it",
    "inspect data.npy": r"data\.npy is an array of NumPy, but must be a network.*torch\.export\.save",
    "invert model.pt2 data.npy -o o.npz": r"nothing says how strongly.*Give --noise-level, --alpha, or a --rule",
    "inspect model.pt2 --plot graph.xyz": r"graph\.xyz, but must end in one of \.png, \.pdf, \.svg",
    "inspect model.pt2 --output layer9": r"output is 'layer9'.*Names like it: .*'1'",
    "invert none.pt2 data.npy -o o.npz --noise-level 0.1": r"none\.pt2",
    "invert model.pt2 none.npy -o o.npz --noise-level 0.1": r"none\.npy",
    "invert model.pkl data.npy -o o.npz --noise-level 0.1": r"model\.pkl",
    "invert pickle.pt2 data.npy -o o.npz --noise-level 0.1": r"pickle\.pt2.*torch\.export\.save",
    "invert weights.pt2 data.npy -o o.npz --noise-level 0.1": r"weights\.pt2.*torch\.export\.save",
    "inspect pickle.pt2": r"pickle\.pt2.*torch\.export\.save",
    "inspect none.pt2": r"none\.pt2",
    "invert model.pt2 pickle.npy -o o.npz --noise-level 0.1": r"pickle\.npy is not a NumPy file of numbers.*numpy\.save",
    "invert model.pt2 objects.npy -o o.npz --noise-level 0.1": r"objects\.npy is not a NumPy file of numbers",
    "invert model.pt2 empty.npy -o o.npz --noise-level 0.1": r"empty\.npy is not a NumPy file of numbers",
    "invert model.pt2 text.npy -o o.npz --noise-level 0.1": r"text\.npy has dtype <U1",
    "invert model.pt2 two.npz -o o.npz --noise-level 0.1": r"two\.npz holds a, b; keep one array, or call one data",
    "invert model.pt2 nan.npy -o o.npz --noise-level 0.1": r"data contains 3 NaN or infinite value",
    "invert model.pt2 wide.npy -o o.npz --noise-level 0.1": r"shape \(3, 9\).*\(batch, 8\)",
    "invert model.pt2 data.npy -o o.npz --noise-level=-1": r"noise_level is -1",
    "invert model.pt2 data.npy -o o.npz --noise-level much": r"neither a number nor a file",
    "invert model.pt2 data.npy -o o.npz --rule fixed": r"--rule fixed needs --alpha",
    "invert model.pt2 data.npy -o o.npz --rule discrepancy --alpha 1": r"Drop one of the two",
    "invert model.pt2 data.npy -o o.npz --rule lepskii": r"Lepskii needs a noise_level.*Pass noise_level=",
    "invert model.pt2 data.npy -o o.npz --method newton": r"newton",
    "invert model.pt2 data.npy -o o.npz --alpha 1 --max-steps 0": r"max_steps is 0",
    "study stability model.pt2 data.npy -o o.npz --alpha 1 --rule lepskii": r"--alpha is the weight of --rule fixed.*drop",
    "study stability model.pt2 data.npy -o o.npz": r"truth has shape \(3, 8\)",
    "study rates model.pt2 nan.npy -o o.npz --kind pink": r"pink",
    "study": r"(?i)missing command",
    "invert model.pt2 data.npy -o o.npz --alpha=-1": r"alpha is -1",
    "invert model.pt2 data.npy -o o.npz --alpha 1 --lower 1 --upper 0": r"(?i)box|lower",
    "invert model.pt2 data.npy -o o.npz --alpha 1 --input-shape 3x4": r"--input-shape is '3x4'",
    "invert model.pt2 data.npy -o o.npz --alpha 1 --input-shape 5": r"shape",
    "invert model.pt2 data.npy -o o.npz --alpha 1 --tolerance 0": r"tolerance is 0",
    "invert model.pt2 data.npy -o o.txt --alpha 1": r"o\.npz",
    "invert model.pt2 data.npy -o o.npz --alpha 1 --plot p.xyz": r"p\.xyz",
    "invert model.pt2 data.npy -o o.npz --regulariser ridge": r"ridge",
    "invert model.pt2 data.npy": r"(?i)missing option.*--out",
    "invert model.pt2": r"(?i)missing argument",
    "invert model.pt2 data.npy -o o.npz --alpha much": r"--alpha",
    "invent": r"invent",
    "experiment nothing": r"nothing' is unknown\. Choose one of .*demo",
    "experiment demo --size huge": r"huge",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_input_ends_with_one_line(line: str, run: Callable[[str], int], files: Path, capsys: Captured) -> None:
    assert run(line) == 2
    error = capsys.readouterr().err
    assert error.startswith("netinverse: ")
    assert error.count("\n") == 1, error
    assert error.endswith("\n")
    assert re.search(BAD[line], error), error
    assert not (files / "o.npz").exists()


PAGES = ["", "invert", "inspect", "study", "study stability", "study rates", "experiment"]


@pytest.mark.parametrize("command", PAGES)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_a_page_of_help_for_every_command(command: str, option: str, run: Callable[[str], int], capsys: Captured) -> None:
    assert run(f"{command} {option}") == 0
    page = capsys.readouterr().out
    assert page.startswith("Usage: netinverse") and "Options:" in page
    assert "Exit codes:" in page if not command else "Examples:" in page or "Commands:" in page


def examples() -> list[str]:
    pages = [value for name, value in vars(cli.pages).items() if name.isupper()]
    return [line.strip() for page in pages for line in page.splitlines() if line.startswith("  netinverse ")]


@pytest.mark.parametrize("line", examples())
def test_the_examples_of_the_help_can_be_typed(line: str, run: Callable[[str], int], capsys: Captured) -> None:
    """Every option and value is known: what is missing are the files alone."""
    typed = line.split("|")[0].removeprefix("netinverse ")
    command = typed.split()[0]
    if command == "experiment":
        assert typed.split()[1] in experiments.names()
        return
    assert run(typed) == 2
    assert re.search(r"MODEL \w+\.pt2 is not a file", capsys.readouterr().err)


def test_ctrl_c_ends_with_one_line(run: Callable[[str], int], monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ni, "invert", interrupted)
    assert run("invert model.pt2 data.npy -o out/never.npz --alpha 1") == 130
    assert re.fullmatch(r"\nnetinverse: interrupted\. .*the same command goes on from there\.\n", capsys.readouterr().err)


def test_the_version(run: Callable[[str], int], capsys: Captured) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == ni.__version__


def test_json_of_an_inversion_is_the_result(run: Callable[[str], int], files: Path, capsys: Captured) -> None:
    assert run("invert model.pt2 data.npy -o out/json.npz --alpha 0.1 --tolerance 1e-2 --regulariser tikhonov --json") == 0
    found, result = json.loads(capsys.readouterr().out), ni.Reconstruction.load(files / "out" / "json.npz")
    assert found["out"] == "out/json.npz" and found["converged"] is result.converged
    assert [sample["alpha"] for sample in found["samples"]] == result.alpha.tolist()
    assert [sample["status"] for sample in found["samples"]] == [status.name for status in result.status]
    assert found["certificate"]["kind"] == result.certificate.kind


def test_strict_says_by_its_exit_code_that_a_sample_did_not_converge(
    run: Callable[[str], int], files: Path, capsys: Captured
) -> None:
    line = "invert model.pt2 data.npy -o out/strict.npz --alpha 1e-3 --tolerance 1e-14 --max-steps 1"
    assert run(line) == 0
    assert run(f"{line} --strict --json") == 3
    printed = capsys.readouterr()
    assert "not every sample converged; out/strict.npz holds the status of each" in printed.err
    samples = json.loads(printed.out[printed.out.index("\n{") :])["samples"]
    assert all(sample["status"] != "CONVERGED" and sample["remedy"] for sample in samples)


@pytest.mark.parametrize("options", ["--method gauss-newton --fidelity squared", "--rule a-priori"])
def test_methods_rules_and_fidelities_by_name(options: str, run: Callable[[str], int], files: Path) -> None:
    line = f"invert model.pt2 data.npy -o out/named.npz --noise-level 0.05 --tolerance 1e-2 --regulariser tikhonov {options}"
    assert run(line) == 0
    rule = "APriori" if "a-priori" in options else "DiscrepancyPrinciple"
    message = ni.Reconstruction.load(files / "out" / "named.npz").message
    assert f"rule: {rule}" in message and ("SquaredFidelity" in message or "squared" not in options)


def test_a_warning_is_one_line_too(run: Callable[[str], int], capsys: Captured) -> None:
    line = "invert model.pt2 data.npy -o out/warned.npz --rule quasi-optimality --tolerance 1e-2 --regulariser tikhonov"
    assert run(line) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("netinverse: warning: QuasiOptimality: alpha is chosen from the data alone")


def test_the_program_itself_leaves_with_the_exit_code_and_no_traceback(files: Path) -> None:
    command = [sys.executable, "-m", "netinverse.cli", "inspect", str(files / "pickle.pt2")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("netinverse: ")


def test_an_experiment_away_from_the_checkout_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Captured) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("netinverse.cli.experiment.places", lambda: (tmp_path,))
    assert cli.main(["experiment", "demo"]) == 2
    assert "Run this command in a checkout" in capsys.readouterr().err
