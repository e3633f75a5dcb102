"""Muon for the matrices of the layers (Jordan et al. 2024), AdamW for all else; and the average of the weights."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.layers import Stack
from earshot_asr.engine.training.muon import Muon

BETAS = (0.9, 0.98)
State = dict[str, dict[str, Tensor]]


def matrices(module: nn.Module) -> list[str]:
    """Names of the weights of all linear maps in the layers: no heads, embeddings, biases, convolutions over time."""
    return [
        f"{stack}.{name}.weight"
        for stack, layers in module.named_modules()
        if isinstance(layers, Stack)
        for name, part in layers.named_modules()
        if isinstance(part, nn.Linear)
    ]


class Optimizers:
    """Both, as one. Frozen parameters are left alone, and so are those without a gradient.

    adamw, muon   peak learning rates; muon None: AdamW does all. Muon's updates are scaled to the size of AdamW's
                  (match_rms_adamw, Liu et al. 2025), so both rates are of one kind
    decay, muon_decay   weight decay per step, times the rate
    clip          the gradients' norm is not let beyond it
    scales        factors on the rate of some parameters, by name
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
        """Those of one scale and one decay together; norms and biases do not decay."""
        groups: dict[tuple[float, float], list[Tensor]] = {}
        for name in names:
            parameter = self._named[name]
            key = scales.get(name, 1.0), decay if parameter.ndim > 1 else 0.0
            groups.setdefault(key, []).append(parameter)
        return [{"params": some, "scale": scale, "weight_decay": d} for (scale, d), some in groups.items()]

    def step(self, factor: float) -> Tensor:
        """One update at `factor` of the peak rates, and gradients are gone. Returns their norm before it was clipped.

        Where that is not finite, nothing is updated.
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
        """What is to be kept, by the parameters' names: exp_avg, exp_avg_sq and step, or momentum_buffer."""
        names: dict[Tensor, str] = {p: name for name, p in self._named.items()}
        return {names[p]: dict(kept) for part, _ in self._parts for p, kept in part.state.items() if p in names}

    def load(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """What state() returned, on any device."""
        names = {p: name for name, p in self._named.items()}
        for part, _ in self._parts:
            for p in [p for group in part.param_groups for p in group["params"] if names[p] in state]:
                # AdamW counts its steps on the CPU.
                part.state[p] = {
                    key: value.cpu().clone() if key == "step" else value.to(p.device, copy=True)
                    for key, value in state[names[p]].items()
                }


class Average:
    """Exponential average of all weights; young runs forget sooner, so that the beginning does not stay in it.

    decay  of a step, in the long run: at 0.998 the last 500 steps count.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._module = module
        self.weights = {name: p.detach().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After step number `step`, counted from 1."""
        now = [p.detach() for _, p in self._module.named_parameters()]
        torch._foreach_lerp_(list(self.weights.values()), now, 1 - min(self.decay, step / (step + 50)))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module has the averaged weights meanwhile, and is in evaluation."""
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
