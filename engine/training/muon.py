"""Muon (Jordan et al. 2024): the momentum of a matrix, its singular values made one.

As torch.optim.Muon computes it, but in what the device multiplies fast (torch's is always bfloat16, which takes a CPU
without such instructions forty times as long as float32), and all matrices of one shape at once.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from earshot_asr.engine.training.distributed import half_precision

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
EPS = 1e-7


class Muon(Optimizer):
    """For matrices alone. Updates have the size of AdamW's: 0.2 lr in each weight (Liu et al. 2025)."""

    def __init__(
        self,
        matrices: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of all that have a gradient."""
        assert closure is None
        for group in self.param_groups:
            by_shape: dict[Any, list[Tensor]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    by_shape[p.shape, p.device].append(p)
            for same in by_shape.values():
                self._update(same, group["lr"], group["weight_decay"], group["momentum"])

    def _update(self, same: list[Tensor], lr: float, decay: float, momentum: float) -> None:
        for p in same:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum_buffer"] for p in same]
        gradients = [p.grad for p in same if p.grad is not None]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        ahead = torch.stack(torch._foreach_lerp(gradients, buffers, momentum))  # Nesterov's
        turned = orthogonal(ahead)
        torch._foreach_mul_(same, 1 - lr * decay)
        torch._foreach_add_(same, list(turned), alpha=-0.2 * lr * max(turned.shape[1:]) ** 0.5)


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest (semi-)orthogonal matrices to (N, R, C), about: by Newton and Schulz, quintic."""
    a, b, c = COEFFICIENTS
    x = matrices.to(torch.bfloat16) if half_precision(matrices.device) else matrices
    if tall := x.shape[1] > x.shape[2]:
        x = x.mT
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp_min(EPS)
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)
