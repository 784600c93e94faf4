"""The operators of an exported graph, and the tensors among theirs that hold the hidden states by frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Attributes = Mapping[str, Any]


@dataclass(frozen=True)
class Node:
    """One operator with the names of its tensors; an omitted input is empty.

    Attributes:
        last_uses: Inputs that no later operator needs.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Attributes
    last_uses: tuple[str, ...] = ()


def frame_tensors(nodes: Sequence[Node], features: str = "features") -> tuple[str, ...]:
    """Names of the tensors (batch, frames, dim) that are pooled over time, in the order of the states.

    They are found from the pooled features backwards. Statistics are products of weights and states, see
    :class:`genser.encoders.pooling.PooledEncoder`; Eq. (1) is a sum over the valid frames, see
    :func:`genser.encoders.base.masked_mean`.

    Args:
        nodes: All operators of the graph.
        features: Name of the pooled features.

    Returns:
        Each name once; empty if the graph has no such output, or pools in another way.
    """
    made = {name: node for node in nodes for name in node.outputs}
    found: dict[str, None] = {}
    waiting, seen = [features], set()
    while waiting:
        name = waiting.pop()
        node = made.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        summed = made.get(node.inputs[0]) if node.operator == "ReduceSum" else None
        if node.operator == "MatMul":
            found[_without_mean(node.inputs[1], made)] = None
        elif summed is not None and summed.operator == "Where":
            found[_without_mean(summed.inputs[1], made)] = None
        else:
            waiting += reversed(node.inputs)
    return tuple(found)


def _without_mean(name: str, made: Mapping[str, Node]) -> str:
    """The states themselves, if a tensor holds their squared differences from a mean, as for standard deviations."""
    while (node := made.get(name)) is not None and node.operator in ("Pow", "Mul", "Sub"):
        name = node.inputs[0]
    return name
