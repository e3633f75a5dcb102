"""Where the symbols of a known text lie among frames: the most probable CTC path that spells it, by Viterbi search."""

import numpy as np
import numpy.typing as npt

from earshot_asr.engine.audio import LogProbs

Frames = npt.NDArray[np.intp]
SURE_LOG_PROB = -0.0067
"""Of a blank; no symbol has more than e^-5 then."""


def align(log_probs: LogProbs, symbols: npt.NDArray[np.intp], blank: int) -> tuple[Frames, Frames]:
    """The first frame of each symbol (N,), and one past its last one.

    log_probs (T, V), symbols (N,). Every symbol has at least a frame if there are enough of them: one for each symbol,
    and one between two that are equal. Otherwise some have none. (Graves et al. 2006, figure 3: the paths through the
    symbols with blanks between them.)
    """
    kept = _doubtful(log_probs[:, blank])
    log_probs = log_probs[kept]
    frames, count = len(log_probs), 2 * len(symbols) + 1
    path = np.full(count, blank)
    path[1::2] = symbols
    emitted = log_probs[:, path]
    skips = np.full(count, -np.inf, np.float32)  # 0 where the blank before a symbol may be left out
    skips[3::2] = np.where(symbols[1:] != symbols[:-1], 0, -np.inf)
    best = np.full(count + 2, -np.inf, np.float32)  # the first two come before all symbols
    best[2:4] = emitted[0, :2]
    ways = np.empty((3, count), np.float32)
    taken = np.zeros((frames, count), np.int8)
    for frame in range(1, frames):
        ways[0] = best[2:]
        ways[1] = best[1:-1]
        np.add(best[:-2], skips, out=ways[2])
        taken[frame] = ways.argmax(0)
        np.add(ways.max(0), emitted[frame], out=best[2:])
    at = count - 1 if best[-1] > best[-2] else max(0, count - 2)
    states = np.empty(frames, np.intp)
    for frame in range(frames - 1, -1, -1):
        states[frame] = at
        at = max(0, at - int(taken[frame, at]))
    own = np.arange(len(symbols)) * 2 + 1
    first, last = np.searchsorted(states, own), np.searchsorted(states, own, side="right") - 1
    return kept[np.minimum(first, frames - 1)], kept[np.maximum(last, 0)] + (last >= first)


def _doubtful(blanks: npt.NDArray[np.float32]) -> Frames:
    """The frames in which the blank is not sure, and one of each run in which it is: the others make no difference."""
    sure = blanks > SURE_LOG_PROB
    sure[1:] &= sure[:-1]
    sure[:1] = False
    return np.flatnonzero(~sure)
