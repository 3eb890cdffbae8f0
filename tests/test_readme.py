"""The README does what it says: its Python is run, its commands are run or checked to exist, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from netinverse import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
TEXT = {page: page.read_text("utf-8") for page in PAGES}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT[page], flags=re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    lines = "".join(blocks(page, "sh")).splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty folder in which the Python of the README was run, top to bottom, as one program."""
    place = tmp_path_factory.mktemp("readme")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        names: dict[str, object] = {"__name__": "readme"}
        for block in blocks(ROOT / "README.md", "python"):
            exec(compile(block, "README.md", "exec"), names)
        yield place


def test_the_python_runs_and_reconstructs(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} >= {"result.npz", "encoder.pt2", "codes.npy", "noise_level.npy"}


def test_all_blocks_have_a_language_that_is_tested() -> None:
    for page, text in TEXT.items():
        assert set(re.findall(r"^```(\w+)$", text, flags=re.MULTILINE)) <= {"python", "sh"}, page.name


@pytest.mark.parametrize(
    "words", [words for words in commands(ROOT / "README.md") if words[0] == "netinverse"], ids=lambda words: " ".join(words[1:3])
)
def test_the_command_line_of_the_readme_runs(
    words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert cli.main(words[1:]) == 0
    assert capsys.readouterr().out.strip()
    for option in {"-o", "--plot"} & set(words):
        assert (folder / words[words.index(option) + 1]).stat().st_size > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_other_command_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for words in commands(page):
        match words:
            case ["netinverse", *_]:
                assert page.name == "README.md", "only the commands of the README are run"
            case ["make", target]:
                assert target in targets
            case ["bash", script]:
                assert (ROOT / script).is_file()
            case ["python", "-m", "pip", "install", what]:
                assert set(re.findall(r"[\w-]+", what)) <= set(extras)
            case _:
                pytest.fail(f"{page.name}: no test knows what {shlex.join(words)} is")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_and_links_in_the_text_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"`make ([a-z-]+)", TEXT[page]):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    for link in re.findall(r"\]\(([^)#]+)\)", TEXT[page]):
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_every_figure_of_the_readme_is_in_the_table_that_its_script_printed() -> None:
    rows = re.findall(r"^\|(.*)\| \[(\w+)\]\(experiments/\2\.py\) \|$", TEXT[ROOT / "README.md"], flags=re.MULTILINE)
    assert len(rows) >= 5
    for row, script in rows:
        table = (ROOT / "docs" / "figures" / f"{script}.txt").read_text("utf-8")
        figures = re.findall(r"`([^`]+)`", row)
        assert figures
        for figure in figures:
            assert re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.]*\d)", table), f"{script}: {figure}"
