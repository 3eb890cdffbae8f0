"""The pages do what they say: their Python is run, what they name exists, and no name or example is left out."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import netinverse as ni
from experiments.figures import SHOWN

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
TEXT = {page: page.read_text("utf-8") for page in PAGES}
EXAMPLES = sorted((DOCS / "gallery").rglob("*.py"))
ELSEWHERE = {
    DOCS / "parallel.md": "its script is run by torchrun in tests/training",
    DOCS / "index.md": "its program is the README's",
}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT[page], flags=re.MULTILINE | re.DOTALL)


def name(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


PROGRAMS = [page for page in PAGES if blocks(page, "python") and page not in ELSEWHERE]


@pytest.mark.parametrize("page", PROGRAMS, ids=name)
def test_the_python_of_a_page_runs_as_one_program(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec", dont_inherit=True), names)


def test_the_first_page_shows_the_call_of_the_readme() -> None:
    """The README's program is run by tests/test_readme.py; the call on the first page has the same arguments."""
    calls = []
    for text in (TEXT[DOCS / "index.md"], (ROOT / "README.md").read_text("utf-8")):
        program = next(
            block for block in re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL) if "invert(" in block
        )
        calls.append(
            next(
                ast.dump(node)
                for node in ast.walk(ast.parse(program))
                if isinstance(node, ast.Assign) and "invert" in ast.dump(node)
            )
        )
    assert calls[0] == calls[1]


def test_every_block_is_run_or_is_known_not_to_be() -> None:
    """``py`` is Python that is only shown, such as the set-up of a cluster."""
    for page, text in TEXT.items():
        assert set(re.findall(r"^```(\w+)$", text, flags=re.MULTILINE)) <= {"python", "py", "sh"}, page.name


def test_every_test_that_the_pages_name_exists() -> None:
    named = [test for text in TEXT.values() for test in re.findall(r"`(tests/[^`]*)`", text)]
    assert named
    for test in named:
        file, _, function = test.partition("::")
        assert (ROOT / file).exists(), test
        assert not function or f"def {function}(" in (ROOT / file).read_text("utf-8"), test


def test_every_section_of_the_theory_names_the_tests_of_its_statements() -> None:
    """The table at its end has a heading row for each section, in their order, and under each at least one statement."""
    sections = re.split(r"^## ", TEXT[DOCS / "theory.md"], flags=re.MULTILINE)[1:]
    titles = [section.splitlines()[0] for section in sections]
    assert titles[-2:] == ["Statements and their tests", "Sources"]
    rows = re.findall(r"^\| (.*?) \|", sections[-2], flags=re.MULTILINE)[2:]
    headings = [row.strip("*") for row in rows if row.startswith("**")]
    assert headings == titles[:-2]
    assert not any(a.startswith("**") and b.startswith("**") for a, b in zip(rows, [*rows[1:], "**"], strict=True))


def test_every_formula_and_every_theorem_of_the_theory_names_its_test() -> None:
    """In its section's part of the table: displayed formulas by label, named theorems and numbered claims by their words."""
    *sections, table, _ = re.split(r"^## ", TEXT[DOCS / "theory.md"], flags=re.MULTILINE)[1:]
    parts = re.split(r"^\| \*\*(.*?)\*\* \| \| \|\n", table, flags=re.MULTILINE)[1:]
    statements = {
        title: [row.split(" | ")[0] for row in part.splitlines() if re.search(r"`tests/[^`]*::test_\w+`", row)]
        for title, part in zip(parts[::2], parts[1::2], strict=True)
    }
    labels: list[str] = []
    for section in sections:
        title, text = section.split("\n", 1)
        held = " ".join(statements[title]).lower()
        formulas = re.findall(r"^\$\$.*$", text, flags=re.MULTILINE)
        for formula in formulas:
            label = re.search(r"\$\$ \(([\w-]+)\)$", formula)
            assert label, f"{title}: a displayed formula has no label: {formula}"
            assert f"{{eq}}`{label[1]}`" in held, f"{title}: no test is named for {label[1]}"
            labels.append(label[1])
        for theorem in re.findall(r"^\*\*(.*?)\.\*\*", text, flags=re.MULTILINE):
            assert theorem.lower() in held, f"{title}: no test is named for the theorem {theorem!r}"
        for claim in re.findall(r"^(\d+)\. ", text, flags=re.MULTILINE):
            assert f"claim {claim}" in held, f"{title}: no test is named for claim {claim}"
    assert len(labels) == len(set(labels)) >= 20
    assert set(re.findall(r"\{eq\}`([\w-]+)`", " ".join(TEXT.values()))) <= set(labels)


def test_every_identifier_of_the_notation_exists() -> None:
    rows = re.findall(r"^\| .*? \| (`.*?`) \| ", TEXT[DOCS / "notation.md"], flags=re.MULTILINE)
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "netinverse").rglob("*.py"))
    names = {name for row in rows for name in re.findall(r"[a-z_]\w*", row)}
    assert len(names) >= 20
    assert not {name for name in names if not re.search(rf"\b{name}\b", source)}


def test_every_script_that_the_pages_name_exists() -> None:
    for page, text in TEXT.items():
        for script in re.findall(r"`(experiments/\w+(?:/\w+)*\.py)`", text):
            assert (ROOT / script).is_file(), f"{page.name}: {script}"
        for module in re.findall(r"python -m (experiments[\w.]*)", text):
            assert importlib.util.find_spec(module), f"{page.name}: {module}"


def test_a_script_makes_every_figure_and_a_page_shows_it() -> None:
    made = {f"{script}-{figure}" for script, figures in SHOWN.items() for figure in figures}
    made |= {f"{script}.txt" for script in SHOWN}
    there = {path.name for path in (DOCS / "figures").iterdir()}
    assert there <= made
    shown = {Path(found).name for text in TEXT.values() for found in re.findall(r"figures/[\w.-]+\.(?:png|txt)", text)}
    assert {figure for figure in there if figure.endswith(".png")} <= shown <= there


def test_every_status_is_explained() -> None:
    text = TEXT[DOCS / "howto" / "failures.md"]
    assert {status.name for status in ni.Status} == set(re.findall(r"`([A-Z][A-Z_]+)`", text))


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where dataclasses and pickles look for it
    spec.loader.exec_module(module)
    return module


def test_every_public_name_is_in_the_reference() -> None:
    pages: dict[str, dict[str, Any]] = loaded(DOCS / "reference_pages.py").pages()
    listed = {path for objects in pages.values() for path in objects}
    public = {name for name, value in vars(ni).items() if name[0] != "_" and not isinstance(value, ModuleType)}
    assert {f"netinverse.{name}" for name in public} <= listed
    for room in (ni.layers, ni.testing, ni.training):
        tree = ast.parse(Path(str(room.__file__)).read_text("utf-8"))
        public = {alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
        assert {f"{room.__name__}.{name}" for name in public} <= listed
    arguments = loaded(DOCS / "reference_pages.py").arguments_of
    assert arguments(ni.add_noise)[:2] == ["clean", "relative"] and arguments(ni.CheckpointWarning) is not None
    for objects in pages.values():
        assert all(value.__doc__ for value in objects.values()), [path for path, value in objects.items() if not value.__doc__]


@pytest.mark.parametrize(
    ("docstring", "text"),
    [
        ("B(u, z) = |u|^2 - u_l * v, ``x_i``", [r"B(u, z) = \|u\|^2 - u\_l \* v, ``x_i``", ""]),
        ("Text\n\n    a = b_c\n\nmore", ["Text", "", "::", "", "    a = b_c", "", "more", ""]),
        ("x: a point. step_size: a number: one.\nmore", ["- **x**: a point.", r"- **step\_size**: a number: one. more", ""]),
    ],
)
def test_a_docstring_is_shown_as_it_stands(docstring: str, text: list[str]) -> None:
    assert loaded(DOCS / "reference_pages.py").escaped(docstring.splitlines(), ["x", "step_size"]) == text


def test_the_gallery_is_complete_and_in_order() -> None:
    source = (DOCS / "example_figures.py").read_text("utf-8")
    ordered = re.findall(r'"(\w+\.py)"', source)
    assert sorted(ordered) == sorted(example.name for example in EXAMPLES)
    assert len(EXAMPLES) >= 15


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_has_a_title_a_picture_and_a_seed(example: Path) -> None:
    text = example.read_text("utf-8")
    title, line, *_ = (ast.get_docstring(ast.parse(text)) or "").splitlines()
    assert line == "=" * len(title)
    assert re.search(r"^figure = ", text, flags=re.MULTILINE)
    assert len(text.splitlines()) <= 80
    draws = re.search(r"torch\.rand|nn\.Conv2d\(", text)
    assert not draws or re.search(r"manual_seed|seed=", text)


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the build of the pages, which runs them all; here one can be run alone."""
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        exec(compile(example.read_text("utf-8"), str(example), "exec", dont_inherit=True), {"__name__": example.stem})
