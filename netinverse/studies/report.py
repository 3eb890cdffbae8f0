"""A study as one HTML page."""

from __future__ import annotations

import base64
import io
import platform
from html import escape
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from netinverse.studies.study import Study

PACKAGES = ("netinverse", "torch", "numpy", "scipy", "pandas", "matplotlib", "scikit-image")

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #1a1a1a; }
h1, h2 { line-height: 1.2; } img { width: 100%; min-width: 40rem; height: auto; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.85rem; }
th, td { padding: 0.2rem 0.7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #ddd; }
th { background: #f4f4f4; } th:first-child, td:first-child, td.word { text-align: left; }
td.word { white-space: normal; overflow-wrap: anywhere; } td.word:first-child { white-space: nowrap; }
"""


def page(study: Study) -> str:
    """Figures, rates, bounds, medians, settings, versions."""
    name = str(study.settings.get("study", "study")).replace("_", " ").capitalize()
    violations = study.violations
    parts = [f"<h1>{escape(name)}</h1>", *(f"<p>{escape(note)}</p>" for note in study.notes)]
    parts += ["<h2>Error against noise</h2>", _image(study.plot())]
    parts += ["<h2>Rates</h2>", "<ul>"]
    quantities = [q for q in ("error", "bregman_distance") if study.table[q].notna().any()]
    parts += [f"<li>{escape(rule)}: {escape(str(study.rate(q, rule)))}</li>" for rule in study.rules for q in quantities]
    parts += ["</ul>", "<h2>Bounds</h2>"]
    parts += [f"<p>{escape(study.kept).capitalize()}.</p>"]
    if len(violations):
        parts += [_table(violations)]
    medians = study.table.groupby(["rule", "level"], sort=False).median(numeric_only=True).drop(columns=["seed", "sample"])
    parts += ["<h2>Medians</h2>", _table(medians.reset_index())]
    ends = study.table.groupby(["rule", "status"], sort=False).size().rename("rows").reset_index()
    parts += ["<h2>How the inversions ended</h2>", _table(ends)]
    parts += ["<h2>Settings</h2>", _pairs({str(k): str(v) for k, v in study.settings.items()})]
    parts += ["<h2>Versions</h2>", _pairs(versions())]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(name)}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _image(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    picture = base64.b64encode(buffer.getvalue()).decode()
    return f'<div class="wide"><img alt="error against noise" src="data:image/png;base64,{picture}"></div>'


def _table(table: object) -> str:
    text: str = table.to_html(index=False, border=0, float_format=lambda v: f"{v:.4g}", na_rep="-")  # type: ignore[attr-defined]
    return f'<div class="wide">{text}</div>'


def _pairs(values: dict[str, str]) -> str:
    rows = "".join(f'<tr><td class="word">{escape(k)}</td><td class="word">{escape(v)}</td></tr>' for k, v in values.items())
    return f'<div class="wide"><table>{rows}</table></div>'
