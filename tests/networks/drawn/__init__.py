"""Random networks of the operators that can be lifted, drawn by Hypothesis."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import assume
from hypothesis import strategies as st

from tests.networks.drawn.affine import AFFINE
from tests.networks.drawn.bent import BENT
from tests.networks.drawn.smooth import SMOOTH as _SMOOTH
from tests.networks.drawn.writer import Drawn as Drawn
from tests.networks.drawn.writer import Operator, Shape, Writer

EXACT: dict[str, Operator] = {operator.__name__: operator for operator in (*AFFINE, *BENT)}
SMOOTH: dict[str, Operator] = {operator.__name__: operator for operator in _SMOOTH}

INPUTS: tuple[Shape, ...] = ((6,), (2, 9), (3, 4), (4, 8, 8), (3, 6, 5), (1, 7, 7), (2, 3, 4, 4))


@st.composite
def networks(draw: st.DrawFn, operators: Mapping[str, Operator], last: Mapping[str, Operator] | None = None) -> Drawn:
    """Networks of up to twelve lines of ``operators`` and one of ``last``, which return the last value or all of them."""
    writer = Writer(draw, draw(st.sampled_from(INPUTS)))
    for _ in range(draw(st.integers(0 if last else 1, 12))):
        names = list(writer.values)
        # Most often the latest value, so that networks are deep.
        writer.write(operators, writer.one_of(names[-1], names[-1], writer.one_of(*names)))
    assume(writer.write(last, list(writer.values)[-1]) if last else writer.lines)
    _, *made = writer.values
    everything = f"torch.cat([{', '.join(f'{name}.flatten(1)' for name in made)}], 1)"
    return writer.finished(writer.one_of(made[-1], everything))
