"""What a user installs: the wheel and the source archive are built, looked into, and the wheel is run from another folder."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
import torch
from torch import nn

import netinverse as ni

ROOT = Path(__file__).parents[1]
BUILT_BY = ("build", "hatchling")
CLASSIFIERS = {
    "Development Status :: 3 - Alpha",
    "Intended Audience :: Science/Research",
    "Programming Language :: Python :: 3.11",
    "Typing :: Typed",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("packaging"),
    pytest.mark.skipif(
        any(importlib.util.find_spec(tool) is None for tool in BUILT_BY),
        reason=f'the tools that build are missing: python -m pip install {" ".join(BUILT_BY)}, or ".[dev]"',
    ),
]


def run(*command: str | Path, folder: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """In that folder, away from the checkout: nothing of it is on the path."""
    surroundings = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    done = subprocess.run([*map(str, command)], cwd=folder, env=surroundings, capture_output=True, text=True, timeout=600)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The source archive, and the wheel that is built from what it holds; without a network."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, folder=folder)
    made = sorted(folder.iterdir())
    assert [path.name for path in made] == ["netinverse-0.1.0-py3-none-any.whl", "netinverse-0.1.0.tar.gz"]
    return {"wheel": made[0], "source": made[1]}


@pytest.fixture(scope="module")
def program(archives: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new environment with the wheel in it, over the packages of this one."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=True)
    packages = next((place / "lib").glob("python*/site-packages"))
    # As paths, not as folders of packages: the .pth file by which a checkout is installed is not read.
    layers = [path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"}]
    (packages / "layers.pth").write_text("\n".join(layers), "utf-8")
    command = [place / "bin" / "python", "-m", "pip", "install", "--no-deps", "--no-index", "--ignore-installed", "-q"]
    run(*command, archives["wheel"], folder=place)
    return place / "bin"


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return message_from_bytes(archive.read("netinverse-0.1.0.dist-info/METADATA"))


def test_the_wheel_holds_the_package_and_nothing_else(archives: dict[str, Path]) -> None:
    with zipfile.ZipFile(archives["wheel"]) as archive:
        names = set(archive.namelist())
        assert archive.read("netinverse-0.1.0.dist-info/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
        assert archive.read("netinverse-0.1.0.dist-info/entry_points.txt").split() == [
            b"[console_scripts]",
            b"netinverse",
            b"=",
            b"netinverse.cli:main",
        ]
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "netinverse").rglob("*.py")}
    assert {name for name in names if not name.startswith("netinverse-0.1.0.dist-info/")} == modules | {"netinverse/py.typed"}


def test_the_source_archive_holds_what_its_tests_and_pages_need(archives: dict[str, Path]) -> None:
    with tarfile.open(archives["source"]) as archive:
        names = {name.removeprefix("netinverse-0.1.0/") for name in archive.getnames()}
    wanted = {"LICENSE", "README.md", "pyproject.toml", "constraints.txt", "Makefile", "CHANGELOG.md", "CITATION.cff", ".ci/run"}
    for folder in ("netinverse", "experiments", "tests", "docs/gallery", "docs/howto", "docs/figures"):
        wanted |= {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
    assert wanted <= names
    assert not {name for name in names if "__pycache__" in name or name.startswith(("out/", "docs/_build", ".venv"))}


def test_the_metadata_say_what_an_index_shows(archives: dict[str, Path]) -> None:
    found = metadata(archives["wheel"])
    assert (found["Name"], found["Version"]) == ("netinverse", ni.__version__) == ("netinverse", "0.1.0")
    assert (found["License-Expression"], found["License-File"], found["Requires-Python"]) == ("MIT", "LICENSE", ">=3.11")
    assert set(found.get_all("Classifier", [])) >= CLASSIFIERS
    assert all(", https://" in address for address in found.get_all("Project-URL", ["none"]))
    needed = {line.split(";")[0] for line in found.get_all("Requires-Dist", []) if "extra ==" not in line}
    assert "torch<3,>=2.13" in needed and "numpy>=1.26" in needed
    assert set(found.get_all("Provides-Extra", [])) == {"benchmarks", "dev", "docs", "experiments", "mutants"}
    assert found["Description-Content-Type"] == "text/markdown" and "# netinverse" in found.get_payload()


def test_the_installed_wheel_is_imported_and_reconstructs(program: Path, tmp_path: Path) -> None:
    lines = [
        "import torch, netinverse as ni",
        "network = ni.mlp((6, 9), seed=0)",
        "data, level = ni.add_noise(network(torch.ones(2, 6)).detach(), relative=0.01)",
        "print(ni.__file__, ni.__version__, ni.invert(network, data, noise_level=level, tolerance=1e-3).converged)",
    ]
    place, version, converged = run(program / "python", "-c", "\n".join(lines), folder=tmp_path).stdout.split()
    assert Path(place).is_relative_to(program.parent) and (version, converged) == ("0.1.0", "True")


def test_the_installed_command_inspects_a_network_and_knows_no_experiments(program: Path, tmp_path: Path) -> None:
    assert run(program / "netinverse", "--version", folder=tmp_path).stdout == "0.1.0\n"
    example = torch.zeros(1, 4)
    model = torch.export.export(nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval(), (example,))
    torch.export.save(model, tmp_path / "model.pt2")
    assert "exactly lifted" in run(program / "netinverse", "inspect", "model.pt2", folder=tmp_path).stdout
    refused = run(program / "netinverse", "experiment", "demo", folder=tmp_path, code=2).stderr
    assert refused.count("\n") == 1 and "Run this command in a checkout of the project." in refused
