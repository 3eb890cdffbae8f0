"""Formulas as MathML, which browsers draw: pages without network or script. A formula that is none fails the build."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

logger = logging.getLogger(__name__)

REWRITTEN = (
    (r"\\dots\b", r"\\ldots"),
    (r"\\textstyle\b", ""),
    (r"\\([td]?)frac(\d)(\d)", r"\\\1frac{\2}{\3}"),
    (r"\\operatorname\*", r"\\operatorname"),
    (r"([a-zA-Z}])\\operatorname", r"\1\\,\\operatorname"),
)
"""What the converter does not know, as what it does."""

SPACED = (
    (r'<mo class="mathopen">(\||‖)</mo>', r'<mo form="prefix">\1</mo>'),
    (r"<mo>(\||‖)</mo>", r'<mo form="postfix">\1</mo>'),
    (r'<mo>&ApplyFunction;</mo>(?!\s*<mo stretchy="false">[(\[])', '<mspace width="0.17em"></mspace>'),
)
"""Bars that open or close, and the name of a function before its argument: browsers space them by what they are told they are."""


def converted(node: Any, block: bool) -> str:
    tex = node.astext().strip()
    for old, new in REWRITTEN:
        tex = re.sub(old, new, tex)
    try:
        found = str(tex2mathml(tex, as_block=block))
    except MathError as error:
        logger.warning("a formula cannot be shown: %s: %s", error, tex, location=node, type="mathml")
        return f"<code>{tex}</code>"
    for old, new in SPACED:
        found = re.sub(old, new, found)
    return found


def inline(translator: Any, node: Any) -> None:
    translator.body.append(f'<span class="math">{converted(node, block=False)}</span>')
    raise nodes.SkipNode


def block(translator: Any, node: Any) -> None:
    number, names = get_node_equation_number(translator, node) if node["number"] else "", node["ids"]
    place = f' id="{names[0]}"' if names else ""
    shown = f'<span class="eqno">({number})</span>' if number else ""
    translator.body.append(f'<div class="math"{place}>{converted(node, block=True)}{shown}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    return {"parallel_read_safe": True}
