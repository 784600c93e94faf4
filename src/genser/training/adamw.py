"""AdamW on tensors alone: a pass that a compiler can fuse and a CUDA graph can record."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Trained:
    """A parameter with all that a step changes beside it.

    Attributes:
        parameter: The weight in float32.
        copy: What computes: a bfloat16 copy of the weight, or the parameter itself.
        average: Moving average of the weight.
        moments: Those of torch's AdamW, by its names.
        decay: Weight decay.
        weight: The parameter's numbers, outside of automatic differentiation.
    """

    parameter: Tensor
    copy: Tensor
    average: Tensor
    moments: dict[str, Tensor]
    decay: float
    weight: Tensor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", self.parameter.detach())


@torch.no_grad()
def adamw_(
    trained: list[Trained],
    gradients: tuple[Tensor, ...],
    scalars: Tensor,
    betas: tuple[float, float],
    eps: float,
    clip: float,
) -> Tensor:
    """Clip gradients by their norm and take a step of AdamW (Loshchilov and Hutter, 2019), as torch's does.

    Args:
        trained: Changed in place.
        gradients: Of their copies, in bfloat16 or float32.
        scalars: Learning rate over the first bias correction, root of the second, learning rate, on the device.
        betas: Decay of the two moments.
        eps: Added to the root of the second.
        clip: Largest norm; 0 leaves the gradients as they are.

    Returns:
        Norm of the gradient before clipping, shape ().
    """
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients, 2, torch.float32)))
    shrink = (clip / (norm + 1e-6)).clamp(max=1.0) if clip else torch.ones_like(norm)
    rate, root, lr = scalars[:3].unbind()
    for one, gradient in zip(trained, gradients, strict=True):
        gradient = gradient.float() * shrink
        first = one.moments["exp_avg"].lerp_(gradient, 1 - betas[0])
        second = one.moments["exp_avg_sq"].mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
        if one.decay:
            one.weight.mul_(1 - lr * one.decay)
        one.weight.sub_(rate * first / (second.sqrt() / root + eps))
        if one.copy is not one.parameter:
            one.copy.copy_(one.weight)
    return norm
