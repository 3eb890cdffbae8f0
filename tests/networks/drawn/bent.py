"""Activations, and what is an affine map around ReLU: absolute values, maxima, max-pooling, ReLU on a branch."""

from __future__ import annotations

from tests.networks.drawn.writer import Operator, Shape, Writer, is_image


def relu(w: Writer, x: str, shape: Shape) -> str:
    in_place = (f"F.relu({x}, inplace=True)", f"{w.held('nn.ReLU(inplace=True)')}({x})", f"{x}.relu_()", f"{x}.clamp_(min=0)")
    return w.one_of(
        f"{w.held('nn.ReLU()')}({x})",
        f"F.relu({x})",
        f"torch.relu({x})",
        f"{x}.relu()",
        f"{x}.clamp(min=0)",
        f"torch.clamp({x}, 0)",
        f"torch.maximum({x}, torch.zeros_like({x}))",
        f"torch.maximum({x}, torch.tensor(0.0))",
        *(in_place if w.may_change(x) else ()),
    )


def leaky(w: Writer, x: str, shape: Shape) -> str:
    slopes = w.held(f"nn.PReLU({shape[0]})", ".weight.data.uniform_(0.1, 1.0)")
    return w.one_of(
        f"{w.held('nn.LeakyReLU(0.2)')}({x})",
        f"F.leaky_relu({x}, 0.01)",
        f"F.leaky_relu({x}, 1.5)",
        f"{w.held('nn.PReLU()')}({x})",
        f"{slopes}({x})",
        f"F.rrelu({x})",
        *([f"F.leaky_relu({x}, 0.3, inplace=True)"] if w.may_change(x) else []),
    )


def clipping(w: Writer, x: str, shape: Shape) -> str:
    return w.one_of(
        f"{w.held('nn.ReLU6()')}({x})",
        f"F.relu6({x})",
        f"{w.held('nn.Hardtanh(-0.5, 1.5)')}({x})",
        f"F.hardtanh({x})",
        f"{x}.clamp(-0.3, 0.8)",
        f"torch.clamp({x}, max=0.5)",
        f"F.hardsigmoid({x})",
        f"F.threshold({x}, 0.2, 0.2)",
        *([f"F.hardtanh({x}, inplace=True)", f"F.relu6({x}, inplace=True)"] if w.may_change(x) else []),
    )


def sigmoids(w: Writer, x: str, shape: Shape) -> str:
    return w.one_of(
        f"torch.tanh({x})",
        f"{w.held('nn.Tanh()')}({x})",
        f"{x}.sigmoid()",
        f"F.softsign({x})",
        f"torch.atan({x})",
        f"{x}.arctan()",
        f"F.softshrink({x}, 0.3)",
        f"F.tanhshrink({x})",
        *([f"{x}.tanh_()", f"{x}.sigmoid_()"] if w.may_change(x) else []),
    )


def softplus(w: Writer, x: str, shape: Shape) -> str:
    return w.one_of(f"F.softplus({x})", f"F.softplus({x}, beta={w.one_of(0.5, 3.0)})", f"F.logsigmoid({x})")


def exponential_linear(w: Writer, x: str, shape: Shape) -> str:
    alpha = w.one_of(0.5, 1.0, 1.7)
    in_place = [f"F.elu({x}, {alpha}, inplace=True)"] if w.may_change(x) else []
    return w.one_of(f"F.elu({x}, {alpha})", f"F.celu({x}, {alpha})", f"F.selu({x})", f"{w.held('nn.ELU()')}({x})", *in_place)


def softmax(w: Writer, x: str, shape: Shape) -> str | None:
    axis = w.axis(shape)
    wide = shape[axis - 1 if axis > 0 else axis] > 1
    return w.one_of(f"{x}.softmax({axis})", f"F.softmax({x}, dim={axis})", f"F.softmin({x}, dim={axis})") if wide else None


def absolute_value(w: Writer, x: str, shape: Shape) -> str:
    return w.one_of(f"{x}.abs()", f"torch.abs({x})", *([f"{x}.abs_()"] if w.may_change(x) else []))


def extremes(w: Writer, x: str, shape: Shape) -> str | None:
    y = w.partner(x)
    if y is None:
        return None
    return w.one_of(f"torch.maximum({x}, {y})", f"torch.minimum({x}, {y})", f"torch.max({x}, {y})", f"{x}.minimum({y})")


def max_pooling(w: Writer, x: str, shape: Shape) -> str | None:
    if not is_image(shape):
        return None
    kernel = w.integer(1, 3)
    return (
        f"F.max_pool{len(shape) - 1}d({x}, {kernel}, stride={w.integer(1, 3)}, padding={w.integer(0, kernel // 2)}, "
        f"dilation={w.integer(1, 2)}, ceil_mode={w.one_of(True, False)})"
    )


def branching(w: Writer, x: str, shape: Shape) -> str:
    """A branch of the same shape and what skips it; a module that is used twice."""
    layer = w.held(f"nn.Linear({shape[-1]}, {shape[-1]})")
    branch = f"F.relu({layer}({x}))"
    return w.one_of(
        f"{x} + {branch}",
        f"torch.cat([{x}, {branch}], 1)",
        f"{layer}({branch})",
        f"torch.maximum({x}, {layer}({x}))",
        f"{layer}({x}).add_({x}).relu_()",
    )


BENT: tuple[Operator, ...] = (
    relu,
    leaky,
    clipping,
    sigmoids,
    softplus,
    exponential_linear,
    softmax,
    absolute_value,
    extremes,
    max_pooling,
    branching,
)
