"""The optimizers, Muon for the matrices of the layers and AdamW for all else, and the average of the weights."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.families.layers import Stack
from earshot_asr.engine.training.distributed import half_precision

BETAS = (0.9, 0.98)
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_ROUNDS = 5
NORM_EPS = 1e-7
State = dict[str, dict[str, Tensor]]


class Muon(Optimizer):
    """Muon (Jordan et al. 2024), for matrices only: the momentum of a matrix with all its singular values set to one.

    Computes what torch.optim.Muon does, but all matrices of one shape at once, and in the dtype that the device
    multiplies fast: torch's always takes bfloat16, which is forty times slower than float32 on a CPU without
    instructions for it. Updates have the size of AdamW's, 0.2 lr in each weight (Liu et al. 2025).
    """

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
        """Updates all matrices that have a gradient."""
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
        ahead = torch.stack(torch._foreach_lerp(gradients, buffers, momentum))  # Nesterov momentum
        turned = orthogonal(ahead)
        torch._foreach_mul_(same, 1 - lr * decay)
        torch._foreach_add_(same, list(turned), alpha=-0.2 * lr * max(turned.shape[1:]) ** 0.5)


def orthogonal(matrices: Tensor) -> Tensor:
    """About the nearest (semi-)orthogonal matrices to matrices (N, R, C), by a quintic Newton-Schulz iteration."""
    a, b, c = NEWTON_SCHULZ
    x = matrices.to(torch.bfloat16) if half_precision(matrices.device) else matrices
    if tall := x.shape[1] > x.shape[2]:
        x = x.mT
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp_min(NORM_EPS)
    for _ in range(NEWTON_SCHULZ_ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


def matrices(module: nn.Module) -> list[str]:
    """Names of the matrices that Muon is for: the weights of the linear maps in the layers."""
    return [
        f"{stack}.{name}.weight"
        for stack, layers in module.named_modules()
        if isinstance(layers, Stack)
        for name, part in layers.named_modules()
        if isinstance(part, nn.Linear)
    ]


class Optimizers:
    """Muon and AdamW as one optimizer. Frozen parameters, and those without a gradient, stay as they are.

    adamw, muon         peak learning rates; muon None: AdamW updates all. Both have updates of the same size
    decay, muon_decay   weight decay per step, times the learning rate
    clip                largest norm of all gradients together; larger ones are scaled down to it
    scales              factors on the learning rate of some parameters, by name
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        adamw: float,
        muon: float | None,
        decay: float = 0.01,
        muon_decay: float = 0.05,
        clip: float = 2.0,
        scales: Mapping[str, float] = {},
    ) -> None:
        self.clip = clip
        self._named = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if not self._named:
            raise ConfigError("all weights are frozen; there is nothing to train")
        chosen = set() if muon is None else set(matrices(module))
        self._parts: list[tuple[Optimizer, float]] = []
        rest = self._groups([name for name in self._named if name not in chosen], scales, decay)
        if rest:
            self._parts.append((AdamW(rest, lr=adamw, betas=BETAS), adamw))
        if muon is not None and (matrix := self._groups([n for n in self._named if n in chosen], scales, muon_decay)):
            self._parts.append((Muon(matrix, lr=muon, weight_decay=muon_decay), muon))

    def _groups(self, names: Iterable[str], scales: Mapping[str, float], decay: float) -> list[dict[str, Any]]:
        """Parameter groups, one for each pair of scale and decay; norms and biases do not decay."""
        groups: dict[tuple[float, float], list[Tensor]] = {}
        for name in names:
            parameter = self._named[name]
            key = scales.get(name, 1.0), decay if parameter.ndim > 1 else 0.0
            groups.setdefault(key, []).append(parameter)
        return [{"params": some, "scale": scale, "weight_decay": d} for (scale, d), some in groups.items()]

    def step(self, factor: float) -> Tensor:
        """Updates the weights at `factor` times the peak rates, and frees the gradients.

        Returns the norm of the gradients before clipping. If that is not finite, no weight is updated.
        """
        parameters = [p for p in self._named.values() if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(parameters, self.clip)
        if norm.isfinite():
            for part, rate in self._parts:
                for group in part.param_groups:
                    group["lr"] = rate * factor * group["scale"]
                part.step()
        for p in self._named.values():
            p.grad = None
        return norm

    def state(self) -> State:
        """The optimizers' state by parameter name: exp_avg, exp_avg_sq and step, or momentum_buffer."""
        names: dict[Tensor, str] = {p: name for name, p in self._named.items()}
        return {names[p]: dict(kept) for part, _ in self._parts for p, kept in part.state.items() if p in names}

    def load(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Takes over what state() returned, on any device."""
        names = {p: name for name, p in self._named.items()}
        for part, _ in self._parts:
            for p in [p for group in part.param_groups for p in group["params"] if names[p] in state]:
                # AdamW counts its steps on the CPU.
                part.state[p] = {
                    key: value.cpu().clone() if key == "step" else value.to(p.device, copy=True)
                    for key, value in state[names[p]].items()
                }


class Average:
    """Exponential moving average of all weights, which forgets faster in the first steps of a run.

    decay   per step in the long run; 0.998 averages over about the last 500 steps
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._module = module
        self.weights = {name: p.detach().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after step number `step`, counted from 1."""
        now = [p.detach() for _, p in self._module.named_parameters()]
        torch._foreach_lerp_(list(self.weights.values()), now, 1 - min(self.decay, step / (step + 50)))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """A context in which the module has the averaged weights and is in evaluation mode."""
        self._exchange()
        self._module.eval()
        try:
            yield
        finally:
            self._exchange()
            self._module.train()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, p in self._module.named_parameters():
            kept = p.detach().clone()
            p.copy_(self.weights[name])
            self.weights[name].copy_(kept)
