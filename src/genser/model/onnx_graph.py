"""Runs the graph of an ONNX file with torch, so that a GPU can run what ``genser export`` wrote.

Each operator of the graph is one call of torch, so every exported model runs, with the weights, the rounding to eight
bits and the outputs of its file. Whole numbers that describe shapes stay on the CPU: reading one from a GPU would make
the host wait for it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from genser.encoders.mel import full_precision
from genser.errors import MissingExtraError, ModelError
from genser.model.frame_tensors import Attributes, Node, frame_tensors

TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64}
"""torch's types by their numbers in ONNX."""


class OnnxGraph:
    """The graph of a file, on a device.

    What depends on no input is computed once, when the graph is loaded.

    Args:
        path: ONNX file written by ``genser export``.
        device: Such as ``"cuda"``.

    Raises:
        ModelError: The graph has an operator that is unknown here.
        MissingExtraError: onnx is not installed.
    """

    def __init__(self, path: Path, device: str | torch.device) -> None:
        try:
            import onnx
        except ImportError as error:
            raise MissingExtraError("train", f"Running {path} on {device}") from error
        self.device = torch.device(device)
        graph = onnx.load_model(path, load_external_data=False).graph
        nodes = [
            Node(
                node.op_type,
                tuple(node.input),
                tuple(node.output),
                {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute},
            )
            for node in graph.node
        ]
        unknown = sorted({node.operator for node in nodes} - OPERATORS.keys())
        if unknown:
            raise ModelError(
                f"{path} has the ONNX operator {unknown[0]}, which genser runs on the CPU only. Choose the device cpu."
            )
        self.path = path
        self.outputs = tuple(output.name for output in graph.output)
        self._frames = frame_tensors(nodes)
        tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        given = {one.name for one in graph.input}
        self._defaults = {name: torch.from_numpy(tensors[name].copy()) for name in given & tensors.keys()}
        constants = {name: self._placed(values) for name, values in tensors.items() if name not in given}
        self._nodes, self._constants = self._prepared(nodes, constants)

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Run on inputs by name, which may lie anywhere; the outputs, by name, lie on the device."""
        return self._run(self.outputs, inputs)

    def frame_states(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Hidden states that are pooled over time, (batch, states, frames, dim), of clips of one length.

        Raises:
            ModelError: They cannot be found in the graph.
        """
        if not self._frames:
            raise ModelError(f"{self.path} has no hidden states that genser can find. Use the model folder.")
        found = self._run(self._frames, {"waveform": waveform, "lengths": lengths})
        return torch.stack([found[name] for name in self._frames], dim=1)

    @torch.inference_mode()
    def _run(self, wanted: Sequence[str], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        values = dict(self._constants)
        given = self._defaults | dict(inputs)
        values |= {name: tensor.to(self.device, non_blocking=True) for name, tensor in given.items()}
        with full_precision(self.device.type):
            for node in self._nodes:
                values |= zip(node.outputs, self._results(node, values), strict=False)
                for name in node.last_uses:
                    if name not in wanted:
                        del values[name]
        return {name: values[name].to(self.device) for name in wanted}

    def _placed(self, values: np.ndarray) -> Tensor:
        """A constant: single numbers and whole numbers on the CPU, matrices of bytes as float32."""
        tensor = torch.from_numpy(values.copy())
        if tensor.dtype in (torch.int8, torch.uint8):
            tensor = tensor.float()
        return tensor.to(self.device) if tensor.is_floating_point() and tensor.ndim else tensor

    def _prepared(self, nodes: Sequence[Node], constants: dict[str, Tensor]) -> tuple[list[Node], dict[str, Tensor]]:
        """The nodes that depend on an input, with their last uses, and all constants that they need."""
        left = []
        with torch.inference_mode(), full_precision(self.device.type):
            for node in nodes:
                if all(name in constants for name in node.inputs if name):
                    constants |= zip(node.outputs, self._results(node, constants), strict=False)
                else:
                    left.append(node)
        needed, ready = set(self.outputs), []
        for node in reversed(left):
            last = {name for name in node.inputs if name} - needed - constants.keys()
            needed |= last
            ready.append(Node(node.operator, node.inputs, node.outputs, node.attributes, tuple(last)))
        used = {name for node in left for name in node.inputs} | set(self.outputs)
        return ready[::-1], {name: value for name, value in constants.items() if name in used}

    def _results(self, node: Node, values: Mapping[str, Tensor]) -> Sequence[Tensor]:
        given = [values[name] if name else None for name in node.inputs]
        if node.operator not in READ_ON_HOST:
            given = together(given)
        result = OPERATORS[node.operator](node.attributes, *given)
        return result if isinstance(result, tuple | list) else (result,)


def together(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Move tensors from the CPU to the device of the others, if there is one; single numbers may stay."""
    devices = {tensor.device for tensor in tensors if tensor is not None}
    away = next((device for device in devices if device.type != "cpu"), None)
    if away is None or len(devices) == 1:
        return list(tensors)
    return [one if one is None or not one.ndim else _moved(one, away) for one in tensors]


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy on a device, which holds no value twice that is only repeated along an axis."""
    single = tensor[tuple(slice(0, 1 if stride == 0 else None) for stride in tensor.stride())]
    return single.to(device, non_blocking=True).expand(tensor.shape)


def _axes(attributes: Attributes, axes: Tensor | None) -> tuple[int, ...]:
    """Axes of a reduction, from an input or an attribute; all if empty."""
    return tuple(axes.tolist()) if axes is not None else tuple(attributes.get("axes", ()))


def _reduction(reduce: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(attributes: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
        chosen = _axes(attributes, axes)
        if not chosen and attributes.get("noop_with_empty_axes"):
            return x
        return reduce(x, dim=chosen or tuple(range(x.ndim)), keepdim=bool(attributes.get("keepdims", 1)))

    return run


def _folded(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """An operator with any number of inputs."""

    def run(_: Attributes, first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = function(first, other)
        return first

    return run


def _clip(_: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    x = x if low is None else torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


def _div(_: Attributes, a: Tensor, b: Tensor) -> Tensor:
    return torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc")


def _mod(attributes: Attributes, a: Tensor, b: Tensor) -> Tensor:
    return torch.fmod(a, b) if attributes.get("fmod") else torch.remainder(a, b)


def _conv(attributes: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    axes = weight.ndim - 2
    pads = attributes.get("pads") or [0] * 2 * axes
    x = functional.pad(x, [pad for axis in reversed(range(axes)) for pad in (pads[axis], pads[axis + axes])])
    convolve = (functional.conv1d, functional.conv2d)[axes - 1]
    chosen = {"stride": attributes.get("strides", 1), "dilation": attributes.get("dilations", 1)}
    return convolve(x, weight, bias, groups=attributes.get("group", 1), **chosen)


def _expand(_: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, shape.tolist()))


def _gather(attributes: Attributes, x: Tensor, index: Tensor) -> Tensor:
    before = (slice(None),) * (attributes.get("axis", 0) % x.ndim)
    return x[(*before, index if index.ndim or index.device.type != "cpu" else int(index))]


def _gemm(attributes: Attributes, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.T if attributes.get("transA") else a
    product = attributes.get("alpha", 1.0) * (a @ (b.T if attributes.get("transB") else b))
    return product if c is None else product + attributes.get("beta", 1.0) * c


def _layer_norm(attributes: Attributes, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    shape = x.shape[attributes.get("axis", -1) % x.ndim :]
    return functional.layer_norm(x, shape, scale, bias, attributes.get("epsilon", 1e-5))


def _integer_product(
    _: Attributes, a: Tensor, b: Tensor, a_zero: Tensor | float = 0.0, b_zero: Tensor | float = 0.0
) -> Tensor:
    """MatMulInteger on bytes that are stored as float32, which holds their products exactly."""
    return (a.float() - a_zero) @ (b.float() - b_zero)


def _attention(attributes: Attributes, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """MultiHeadAttention of ONNX Runtime without a mask, (batch, frames, dim)."""
    query, key, value = (x.unflatten(-1, (attributes["num_heads"], -1)).transpose(1, 2) for x in (query, key, value))
    mixed = functional.scaled_dot_product_attention(query, key, value, scale=attributes.get("scale"))
    return mixed.transpose(1, 2).flatten(2)


def _quantized(attributes: Attributes, x: Tensor, scale: Tensor, zero: Tensor | float = 0.0) -> Tensor:
    """QuantizeLinear to unsigned bytes, which are stored as float32."""
    if scale.ndim:
        shape = [1] * x.ndim
        shape[attributes.get("axis", 1)] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape) if isinstance(zero, Tensor) else zero
    return ((x / scale).round() + zero).clamp(0, 255)


def _pad(_: Attributes, x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
    chosen = range(x.ndim) if axes is None else [axis % x.ndim for axis in axes.tolist()]
    before, behind = pads.view(2, len(chosen)).tolist()
    ends = dict(zip(chosen, zip(before, behind, strict=True), strict=True))
    widths = [pad for axis in reversed(range(x.ndim)) for pad in ends.get(axis, (0, 0))]
    return functional.pad(x, widths, value=0 if value is None else value.item())


def _reshape(attributes: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    wanted = shape.tolist()
    if not attributes.get("allowzero"):
        wanted = [x.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    return x.reshape(wanted)


def _shape(attributes: Attributes, x: Tensor) -> Tensor:
    return torch.tensor(x.shape[attributes.get("start", 0) : attributes.get("end")], dtype=torch.int64)


def _slice(
    _: Attributes, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
    chosen = range(x.ndim) if axes is None else axes.tolist()
    strides = [1] * len(starts) if steps is None else steps.tolist()
    for axis, start, end, step in zip(chosen, starts.tolist(), ends.tolist(), strides, strict=False):
        before = (slice(None),) * (axis % x.ndim)
        indices = range(*slice(start, end, step).indices(x.shape[axis]))
        if step > 0 or not indices:
            x = x[(*before, slice(indices.start, indices.stop if indices else indices.start, abs(step)))]
        else:
            x = x[(*before, slice(indices[-1], indices[0] + 1, -step))].flip(axis)
    return x


def _split(attributes: Attributes, x: Tensor, sizes: Tensor | None = None) -> Sequence[Tensor]:
    axis = attributes.get("axis", 0)
    if sizes is not None:
        return x.split(sizes.tolist(), axis)
    return x.split(math.ceil(x.shape[axis] / attributes["num_outputs"]), axis)


def _squeeze(_: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes.tolist()))


def _unsqueeze(_: Attributes, x: Tensor, axes: Tensor) -> Tensor:
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes.tolist()):
        x = x.unsqueeze(axis)
    return x


READ_ON_HOST = {"Expand", "Pad", "Range", "ReduceMax", "ReduceMean", "ReduceSum", "Reshape", "Shape", "Slice", "Split"}
READ_ON_HOST |= {"Squeeze", "Tile", "Unsqueeze"}
"""Operators whose inputs but the first are shapes, positions and axes."""

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "Add": torch.add,
    "And": torch.logical_and,
    "Cos": torch.cos,
    "Equal": torch.eq,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Identity": lambda x: x,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Log": torch.log,
    "MatMul": torch.matmul,
    "Mul": torch.mul,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Or": torch.logical_or,
    "Pow": torch.pow,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Sin": torch.sin,
    "Sqrt": torch.sqrt,
    "Sub": torch.sub,
    "Tanh": torch.tanh,
    "Where": torch.where,
}
"""Operators of ONNX without attributes that are functions of torch."""

OPERATORS: dict[str, Callable[..., Any]] = {
    **{name: lambda _, *inputs, function=function: function(*inputs) for name, function in FUNCTIONS.items()},
    "Cast": lambda attributes, x: x.to(TYPES[attributes["to"]]),
    "Clip": _clip,
    "Concat": lambda attributes, *parts: torch.cat(parts, attributes["axis"]),
    "Conv": _conv,
    "Div": _div,
    "Einsum": lambda attributes, *parts: torch.einsum(attributes["equation"].decode(), *parts),
    "Expand": _expand,
    "Gather": _gather,
    "GatherElements": lambda attributes, x, index: x.gather(attributes.get("axis", 0), index),
    "Gelu": lambda attributes, x: functional.gelu(x, approximate=attributes.get("approximate", b"none").decode()),
    "Gemm": _gemm,
    "LayerNormalization": _layer_norm,
    "MatMulInteger": _integer_product,
    "Max": _folded(torch.maximum),
    "Min": _folded(torch.minimum),
    "Mod": _mod,
    "MultiHeadAttention": _attention,
    "Pad": _pad,
    "QuantizeLinear": _quantized,
    "Range": lambda _, start, end, step: torch.arange(start.item(), end.item(), step.item()),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMean": _reduction(torch.mean),
    "ReduceSum": _reduction(torch.sum),
    "Reshape": _reshape,
    "ScatterElements": lambda attributes, x, index, values: x.scatter(attributes.get("axis", 0), index, values),
    "Shape": _shape,
    "Slice": _slice,
    "Softmax": lambda attributes, x: x.softmax(attributes.get("axis", -1)),
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": lambda _, x, repeats: x.tile(repeats.tolist()),
    "Transpose": lambda attributes, x: x.permute(attributes.get("perm") or tuple(reversed(range(x.ndim)))),
    "Unsqueeze": _unsqueeze,
}
"""All operators, as functions of their attributes and inputs."""
