"""Affine operators, in the spellings in which people write them."""

from __future__ import annotations

import math

from tests.networks.drawn.writer import Operator, Shape, Writer, divisors, is_image


def convolution(w: Writer, x: str, shape: Shape) -> str | None:
    if not is_image(shape):
        return None
    groups = w.one_of(*divisors(shape[0]))
    stride = w.integer(1, 2)
    padding = w.one_of(0, 1, 2, *(["'same'", "'valid'"] if stride == 1 else []))
    mode = w.one_of("zeros", "reflect", "replicate", "circular")
    layer = w.held(
        f"nn.Conv{len(shape) - 1}d({shape[0]}, {groups * w.integer(1, 2)}, {w.integer(1, 3)}, stride={stride}, "
        f"padding={padding}, dilation={w.integer(1, 2)}, groups={groups}, bias={w.one_of(True, False)}, padding_mode='{mode}')"
    )
    return f"{layer}({x})"


def functional_convolution(w: Writer, x: str, shape: Shape) -> str | None:
    if not is_image(shape):
        return None
    axes = len(shape) - 1
    weight = w.constant(3, shape[0], *[w.integer(1, 3) for _ in range(axes)])
    bias = w.one_of("None", w.constant(3))
    return f"F.conv{axes}d({x}, {weight}, {bias}, padding={w.integer(0, 1)})"


def transposed_convolution(w: Writer, x: str, shape: Shape) -> str | None:
    if not is_image(shape):
        return None
    groups, stride = w.one_of(*divisors(shape[0])), w.integer(1, 2)
    layer = w.held(
        f"nn.ConvTranspose{len(shape) - 1}d({shape[0]}, {groups * w.integer(1, 2)}, {w.integer(1, 3)}, stride={stride}, "
        f"padding={w.integer(0, 1)}, output_padding={w.integer(0, stride - 1)}, groups={groups}, dilation={w.integer(1, 2)}, "
        f"bias={w.one_of(True, False)})"
    )
    return f"{layer}({x})"


def linear(w: Writer, x: str, shape: Shape) -> str:
    layer = w.held(f"nn.Linear({shape[-1]}, {w.integer(1, 6)}, bias={w.one_of(True, False)})")
    return w.one_of(f"{layer}({x})", f"F.linear({x}, {layer}.weight)")


def parametrised(w: Writer, x: str, shape: Shape) -> str:
    norm = w.one_of("weight_norm", "spectral_norm")
    layer = f"nn.Linear({shape[-1]}, {w.integer(1, 6)})"
    if is_image(shape) and w.one_of(True, False):
        layer = f"nn.Conv{len(shape) - 1}d({shape[0]}, {w.integer(1, 4)}, 1)"
    return f"{w.held(f'nn.utils.parametrizations.{norm}({layer})')}({x})"


def batch_norm(w: Writer, x: str, shape: Shape) -> str | None:
    return f"{w.held(f'nn.BatchNorm{max(1, len(shape) - 1)}d({shape[0]})')}({x})" if len(shape) <= 4 else None


def average_pooling(w: Writer, x: str, shape: Shape) -> str | None:
    if not is_image(shape):
        return None
    kernel = w.integer(1, 3)
    return (
        f"F.avg_pool{len(shape) - 1}d({x}, {kernel}, stride={w.integer(1, 2)}, padding={w.integer(0, kernel // 2)}, "
        f"ceil_mode={w.one_of(True, False)}, count_include_pad={w.one_of(True, False)})"
    )


def adaptive_average_pooling(w: Writer, x: str, shape: Shape) -> str | None:
    return f"F.adaptive_avg_pool{len(shape) - 1}d({x}, {w.integer(1, 4)})" if is_image(shape) else None


def interpolation(w: Writer, x: str, shape: Shape) -> str | None:
    if not is_image(shape):
        return None
    axes = len(shape) - 1
    size = w.one_of("scale_factor=2", "scale_factor=0.5", f"size={tuple(w.integer(1, 7) for _ in range(axes))}")
    smooth = {1: "linear", 2: "bilinear", 3: "trilinear"}[axes]
    mode = w.one_of("nearest", "nearest-exact", "area", smooth, *(["bicubic"] if axes == 2 else []))
    corners = f", align_corners={w.one_of(True, False)}" if mode in {smooth, "bicubic"} else ""
    return f"F.interpolate({x}, {size}, mode='{mode}'{corners})"


def padding(w: Writer, x: str, shape: Shape) -> str | None:
    mode = w.one_of("constant", "reflect", "replicate", "circular")
    if mode == "constant":
        pads = [w.integer(-1, 2) for _ in range(2 * w.integer(1, len(shape)))]
        return f"F.pad({x}, {pads}, value={w.one_of(0.0, 0.7)})"
    if not is_image(shape):
        return None
    pads = [w.integer(0, min(shape) - 1) for _ in range(2 * (len(shape) - 1))]
    return f"F.pad({x}, {pads}, mode='{mode}')"


def slicing(w: Writer, x: str, shape: Shape) -> str:
    picks = [w.one_of(":", ":", "1:", ":-1", "::2", "-1", "0", "[0, -1]", "None") for _ in shape]
    return f"{x}[:, {', '.join(picks)}]" if picks.count("[0, -1]") < 2 else f"{x}[..., ::2]"


def splitting(w: Writer, x: str, shape: Shape) -> str:
    axis = w.axis(shape)
    size = shape[axis - 1 if axis > 0 else axis]
    first = w.integer(1, max(1, size - 1))
    parts = w.one_of(
        f"torch.chunk({x}, 2, dim={axis})",
        f"{x}.chunk({w.integer(1, 3)}, {axis})",
        f"{x}.split({w.integer(1, size)}, dim={axis})",
        f"torch.split({x}, {[first, size - first]}, {axis})",
    )
    return w.one_of(f"{parts}[-1]", f"torch.cat(list({parts})[::-1], {axis})", f"torch.stack({x}.unbind({axis}), {axis})")


def reshaping(w: Writer, x: str, shape: Shape) -> str:
    size = math.prod(shape)
    k = w.one_of(*divisors(size))
    order = w.order(shape)
    return w.one_of(
        f"{x}.flatten(1)",
        f"torch.flatten({x}, 1)",
        f"{x}.reshape({x}.shape[0], {k}, -1)",
        f"{x}.contiguous().view({x}.size(0), -1)",
        f"{x}.reshape(-1, {', '.join(map(str, [shape[i - 1] for i in order]))})",
        f"{x}.flatten(1).unflatten(1, ({k}, {size // k}))",
        f"{x}.unsqueeze({w.integer(1, len(shape) + 1)})",
        f"{x}.squeeze({w.axis(shape)})",
        f"{x}.unsqueeze(1).expand(-1, 2, {', '.join(['-1'] * len(shape))})",
        f"{x}.repeat(1, 2{', 1' * (len(shape) - 1)})",
    )


def permuting(w: Writer, x: str, shape: Shape) -> str:
    order = w.order(shape)
    a, b = w.axis(shape), w.axis(shape)
    return w.one_of(
        f"{x}.permute(0, {', '.join(map(str, order))})",
        f"{x}.transpose({a}, {b})",
        f"torch.movedim({x}, {a}, {b})",
        f"{x}.flip({a})",
        f"torch.roll({x}, 1, {a})",
    )


def reduction(w: Writer, x: str, shape: Shape) -> str:
    axes = sorted({w.integer(1, len(shape)) for _ in range(2)})
    keep = len(axes) == len(shape) or w.one_of(True, False)
    return f"{x}.{w.one_of('mean', 'sum')}({axes}, keepdim={keep})"


def centring(w: Writer, x: str, shape: Shape) -> str:
    return f"{x} - {x}.mean({w.axis(shape)}, keepdim=True)"


def arithmetic(w: Writer, x: str, shape: Shape) -> str:
    c = w.constant(*shape[w.integer(0, len(shape) - 1) :])
    return w.one_of(
        f"{x} + {c}",
        f"{c} - {x}",
        f"torch.add({x}, {c}, alpha=0.5)",
        f"{x} * {c}",
        f"{x} / (1 + {c} ** 2)",
        f"torch.mul({x}, 1.5)",
        f"1 - {x}",
        f"-{x}",
        f"{x} / 3",
        f"torch.sub({x}, 0.25)",
    )


def matrix_product(w: Writer, x: str, shape: Shape) -> str:
    last = w.constant(shape[-1], w.integer(1, 5))
    options = [f"{x} @ {last}", f"torch.matmul({x}, {last})", f"torch.einsum('...i,ij->...j', {x}, {last})"]
    if len(shape) > 1:
        options.append(f"{w.constant(w.integer(1, 5), shape[-2])} @ {x}")
    if len(shape) == 3:
        options.append(f"torch.einsum('bchw,cd->bdhw', {x}, {w.constant(shape[0], 2)})")
    return w.one_of(*options)


def shuffling(w: Writer, x: str, shape: Shape) -> str | None:
    if len(shape) != 3:
        return None
    channels = f"{w.held(f'nn.ChannelShuffle({w.one_of(*divisors(shape[0]))})')}({x})"
    return w.one_of(channels, f"F.pixel_shuffle({x}, 2)", f"F.pixel_unshuffle({x}, 2)")


def identity(w: Writer, x: str, shape: Shape) -> str:
    return w.one_of(
        f"{w.held('nn.Dropout(0.5)')}({x})",
        f"F.dropout({x}, 0.3, self.training)",
        f"{w.held('nn.Identity()')}({x})",
        f"{x}.to({x}.dtype)",
        f"{x}.clone()",
        f"{x}.contiguous()",
        f"{x}.double().type_as({x})",
    )


def embedding(w: Writer, x: str, shape: Shape) -> str:
    table = w.held(f"nn.Embedding({shape[-1]}, 1)")
    return f"{x} + {table}(torch.arange({shape[-1]}))[:, 0]"


def combination(w: Writer, x: str, shape: Shape) -> str | None:
    """Skip connections: two values become one."""
    y = w.partner(x)
    if y is None:
        return None
    sums = [f"{x} + {y}", f"{x} - 0.5 * {y}", f"torch.add({y}, {x}, alpha=0.5)", f"torch.stack([{x}, {y}], 1)"]
    return w.one_of(*sums, f"torch.stack([{x}, {y}], dim=-1)", *([f"{x}.add_({y})"] if w.may_change(x) else []))


def concatenation(w: Writer, x: str, shape: Shape) -> str | None:
    y = w.partner(x, lambda a, b: len(a) == len(b) and a[1:] == b[1:])
    return f"torch.cat([{x}, {y}, {x}], dim=1)" if y is not None else None


AFFINE: tuple[Operator, ...] = (
    convolution,
    functional_convolution,
    transposed_convolution,
    linear,
    parametrised,
    batch_norm,
    average_pooling,
    adaptive_average_pooling,
    interpolation,
    padding,
    slicing,
    splitting,
    reshaping,
    permuting,
    reduction,
    centring,
    arithmetic,
    matrix_product,
    shuffling,
    identity,
    embedding,
    combination,
    concatenation,
)
