"""Forced alignment by CTC: the most probable path of a text through the frames of a recording. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from earshot_asr.engine.audio import LogProbs

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CtcPath:
    """Where each of L targets lies in T frames.

    symbols    (T,) the id of each frame: its target's, or the blank
    spans      (L, 2) first frame of each target, and the one past its last; never empty, rising
    scores     (T,) the log-probability of each frame's symbol; their sum is that of the path
    """

    symbols: Ints
    spans: Ints
    scores: npt.NDArray[np.float32]


def best_path(log_probs: LogProbs, targets: Sequence[int], blank: int) -> CtcPath | None:
    """The most probable CTC path (Graves et al. 2006) that collapses to the targets; None if there are too few frames.

    log_probs   (T, V)

    It is the path that torchaudio.functional.forced_align finds. Each frame costs a few numpy calls on 2 L + 1 states;
    a minute of speech takes a tenth of a second.
    """
    frames, count = len(log_probs), len(targets)
    states = np.full(2 * count + 1, blank)
    states[1::2] = targets
    # From a state to itself, to the next; and over a blank, unless the same symbol is on both sides of it.
    skips = np.zeros(len(states), bool)
    skips[3::2] = states[3::2] != states[1:-2:2]
    if frames < count + int((~skips[3::2]).sum()) or not frames:
        return None
    emitted = log_probs[:, states].astype(np.float64)  # (T, 2 L + 1)
    best = np.full(len(states), -np.inf)
    best[:2] = emitted[0, :2]
    steps = np.zeros((frames, len(states)), np.int8)
    came = np.full((3, len(states)), -np.inf)
    for frame in range(1, frames):
        came[0] = best
        came[1, 1:] = best[:-1]
        came[2, 2:] = np.where(skips[2:], best[:-2], -np.inf)
        steps[frame] = came.argmax(axis=0)
        best = came.max(axis=0) + emitted[frame]
    state = len(states) - 1
    if count and best[-2] > best[-1]:
        state -= 1
    if best[state] == -np.inf:
        return None
    visited = np.zeros(frames, np.int64)
    for frame in range(frames - 1, -1, -1):
        visited[frame] = state
        state -= int(steps[frame, state])
    order = 2 * np.arange(count) + 1
    spans = np.stack((np.searchsorted(visited, order), np.searchsorted(visited, order, side="right")), axis=1)
    return CtcPath(states[visited], spans, emitted[np.arange(frames), visited].astype(np.float32))
