"""Makes an exported graph small without changing one of its results, and free of traces of where it was made."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LEAST_SIZE = 1 << 12  # numbers; smaller tensors are not worth a node


def halve_exactly(model: onnx.ModelProto) -> int:
    """Store float32 tensors that float16 holds exactly as such, in place; they are widened once, at loading.

    Whisper was published in float16, so half of the file is zeros otherwise.

    Returns:
        Number of tensors halved.
    """
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < LEAST_SIZE:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if not np.array_equal(halves.astype(np.float32), values):
            continue
        wide, narrow = tensor.name, f"{tensor.name}_half"
        tensor.CopyFrom(numpy_helper.from_array(halves, narrow))
        casts.append(helper.make_node("Cast", [narrow], [wide], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    graph.ClearField("node")
    graph.node.extend(nodes)
    return len(casts)


def strip_traces(model: onnx.ModelProto) -> None:
    """Remove source lines, paths and module names that the exporter leaves in a graph, in place."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
