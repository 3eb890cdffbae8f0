"""Sums, products, exponentials and sines to about twice the precision of float64.

The penalty B(u, z) is about (u - sigma(z))^2. For u within 1e-10 of sigma(z) the plain difference keeps six digits and B three;
with these it keeps all. A number is a pair (high, low) of float64 tensors that stands for high + low.
Dekker, Numer. Math. 18, 1971; Ogita, Rump, Oishi, SIAM J. Sci. Comput. 26, 2005.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import lru_cache

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]

_TABLE = 64  # entries of the table of powers of 2, and sines a unit of angle


def two_sum(a: Tensor, b: Tensor) -> Pair:
    """a + b exactly, as (rounded sum, error)."""
    s = a + b
    c = s - a
    return s, (a - (s - c)) + (b - c)


def two_product(a: Tensor, b: Tensor) -> Pair:
    """a b exactly, as (rounded product, error), by Dekker's splitting. Needs |a|, |b| < 1e300."""
    p = a * b
    a_high, b_high = _split(a), _split(b)
    a_low, b_low = a - a_high, b - b_high
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


def _split(a: Tensor) -> Tensor:
    c = 134217729.0 * a
    return c - (c - a)


def accurate_sum(*terms: Tensor) -> Tensor:
    """The sum of the terms as if in twice the precision, rounded once."""
    s = terms[0]
    error = torch.zeros_like(s)
    for term in terms[1:]:
        s, e = two_sum(s, term)
        error = error + e
    return s + error


def times(a: Pair, b: Pair) -> Pair:
    p, e = two_product(a[0], b[0])
    return p, e + (a[0] * b[1] + a[1] * b[0])


def exponential(z: Tensor, low: Tensor | None = None) -> tuple[Pair, Pair]:
    """(e^z, e^z - 1), each a Pair with relative error about 1e-22. Clamped to -745 <= z <= 700.

    z = n ln2/64 + r: a table for the power of 2, a short series for e^r - 1 whose first two terms are exact.
    """
    clamped = z.clamp(-745.0, 700.0)
    low = torch.zeros_like(z) if low is None else torch.where(clamped == z, low, torch.zeros_like(z))
    (first, second, third), table = _powers_of_two()
    n = torch.round(clamped * (1 / (first + second)))
    product, error = two_product(n, torch.full_like(z, second))
    r, rest = two_sum(clamped - n * first, -product)
    r, rest = two_sum(r, (rest - error) + (low - n * third))
    square, square_error = two_product(0.5 * r, r)
    series = 1 / 6 + r * (1 / 24 + r * (1 / 120 + r * (1 / 720 + r * (1 / 5040 + r * (1 / 40320)))))
    high, carry = two_sum(r, square)
    small = (high, carry + (square_error + r.square() * r * series + rest * (1 + r)))
    n = n.to(torch.int64)
    power = n // _TABLE
    entry = table.to(z.device)[n - power * _TABLE]
    # Two factors, each a normal number: 2^power itself may underflow.
    half = torch.div(power, 2, rounding_mode="floor")
    first_half, second_half = torch.ldexp(torch.ones_like(z), half), torch.ldexp(torch.ones_like(z), power - half)
    scale: Pair = (entry[..., 0] * first_half * second_half, entry[..., 1] * first_half * second_half)
    grown = times(scale, small)
    whole, carry = two_sum(scale[0], grown[0])
    value = two_sum(whole, carry + (scale[1] + grown[1]))
    shifted = accurate_sum(scale[0], -torch.ones_like(z), grown[0], scale[1], grown[1])
    residue = accurate_sum(scale[0], -torch.ones_like(z), grown[0], -shifted, scale[1], grown[1])
    return value, (shifted, residue)


def sine_cosine(x: Tensor) -> tuple[Pair, Pair]:
    """(sin x, cos x), each a Pair with absolute error about 1e-23, for |x| <= pi/2."""
    table = _sines().to(x.device)
    n = torch.round(x.abs() * _TABLE)
    r = x.abs() - n / _TABLE
    entry = table[n.to(torch.int64)]
    sine, cosine = (entry[..., 0], entry[..., 1]), (entry[..., 2], entry[..., 3])
    square = r.square()
    high, low = two_product(0.5 * r, r)
    versine = (high, low - square.square() * (1 / 24 - square * (1 / 720 - square / 40320)))  # 1 - cos r
    sagitta = square * r * (1 / 6 - square * (1 / 120 - square / 5040))  # r - sin r
    small = (r, -sagitta)
    grow = times(cosine, small), times(sine, versine)
    fall = times(sine, small), times(cosine, versine)
    sign = torch.where(x < 0, -torch.ones_like(x), torch.ones_like(x))
    s = _collect(sine[0], grow[0][0], -grow[1][0], sine[1], grow[0][1], -grow[1][1])
    c = _collect(cosine[0], -fall[0][0], -fall[1][0], cosine[1], -fall[0][1], -fall[1][1])
    return (sign * s[0], sign * s[1]), c


def _collect(*terms: Tensor) -> Pair:
    high = accurate_sum(*terms)
    return high, accurate_sum(terms[0], -high, *terms[1:])


def _pair(value: Decimal) -> tuple[float, float]:
    high = float(value)
    return high, float(value - Decimal(high))


@lru_cache(maxsize=1)
def _powers_of_two() -> tuple[tuple[float, float, float], Tensor]:
    """ln2/64 in three parts, the first short enough that n times it is exact, and the table of 2^(j/64)."""
    with localcontext() as context:
        context.prec = 60
        step = Decimal(2).ln() / _TABLE
        first = float(int(step * 2**38)) / 2**38
        second, third = _pair(step - Decimal(first))
        rows = [_pair(Decimal(2) ** (Decimal(j) / _TABLE)) for j in range(_TABLE)]
    return (first, second, third), torch.tensor(rows, dtype=torch.float64)


@lru_cache(maxsize=1)
def _sines() -> Tensor:
    """Rows (sin, its low part, cos, its low part) of j/64 for 0 <= j/64 <= pi/2 + 1/64."""
    rows = []
    with localcontext() as context:
        context.prec = 60
        for j in range(_TABLE * 8 // 5):
            angle, term, sums = Decimal(j) / _TABLE, Decimal(1), [Decimal(0), Decimal(0)]
            for k in range(60):
                sums[k % 2] += term if k % 4 < 2 else -term
                term *= angle / (k + 1)
            rows.append(_pair(sums[1]) + _pair(sums[0]))
    return torch.tensor(rows, dtype=torch.float64)
