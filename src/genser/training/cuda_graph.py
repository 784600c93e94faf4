"""Record work on a GPU as a CUDA graph: one launch instead of a thousand.

Randomness still follows from the seed: a replay reads the seed of torch's generator, which is set before every step.
Used only with ``unmeasured_cuda_graph``: it has run on an H200, but what it gains over plain steps is unmeasured.
"""

from collections.abc import Callable

import torch

WARM_UP = 3
"""Plain runs before recording, in which libraries choose their kernels and the optimiser makes its moments."""


def recorded(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Wrap work on fixed tensors, so that it is replayed as a CUDA graph after a few plain runs.

    Args:
        work: Reads and writes tensors that stay in place, and never waits for a value from the device.
        device: Where these tensors are; on any but a CUDA device the work is returned as it is.
    """
    if device.type != "cuda":
        return work
    runs, graph = 0, torch.cuda.CUDAGraph()

    def run() -> None:
        nonlocal runs
        runs += 1
        if runs <= WARM_UP:  # on a stream of its own, as work that will be recorded must run
            stream = torch.cuda.Stream(device)
            stream.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(stream):
                work()
            torch.cuda.current_stream(device).wait_stream(stream)
            return
        if runs == WARM_UP + 1:
            with torch.cuda.device(device), torch.cuda.graph(graph):
                work()
        graph.replay()

    return run
