"""The search itself: hypotheses in rows, a frame at a time."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from earshot_asr.engine.beam.nodes import Node, Writer
from earshot_asr.engine.spelling import Spelling

Floats = npt.NDArray[np.float64]
Symbols = npt.NDArray[np.intp]
MOST_HYPOTHESES = 40
MOST_BEHIND = 10.0
"""A hypothesis is dropped that is so much worse than the best one: a natural logarithm."""
LEEWAY = 1.0
"""So much better may a hypothesis become, a natural logarithm, by what is known of its words with one symbol more."""


class Rows:
    """The hypotheses that are alive, best first.

    nodes       their symbols
    blank       [row]: log-probability of all paths that end in a blank
    symbol      [row]: of those that end in the last symbol
    rank, last  [row]: of the nodes
    dropped     nodes that were left behind in the newest frame: the next one is likely to come upon them again
    """

    __slots__ = ("blank", "dropped", "last", "nodes", "rank", "symbol")

    def __init__(
        self,
        nodes: list[Node],
        blank: Floats,
        symbol: Floats,
        rank: Floats,
        last: Symbols,
        dropped: Sequence[Node] = (),
    ) -> None:
        self.nodes = nodes
        self.blank = blank
        self.symbol = symbol
        self.rank = rank
        self.last = last
        self.dropped = dropped

    def only(self, rows: Sequence[int] | Symbols, dropped: Sequence[Node] = ()) -> "Rows":
        """Some of them, in this order."""
        nodes = [self.nodes[row] for row in rows]
        return Rows(nodes, self.blank[rows], self.symbol[rows], self.rank[rows], self.last[rows], dropped)


def silent(rows: Rows, log_prob: float) -> Rows:
    """A frame that is surely blank: no hypothesis is extended, and their order stays."""
    blank = np.logaddexp(rows.blank, rows.symbol) + log_prob
    return Rows(rows.nodes, blank, np.full(len(blank), -np.inf), rows.rank, rows.last, rows.dropped)


def step(rows: Rows, symbols: Symbols, frame: Floats, writer: Writer) -> Rows:
    """One frame. `symbols` are those that may be written in it; `frame` (V,) its log-probabilities."""
    total = np.logaddexp(rows.blank, rows.symbol)
    blank = total + frame[writer.vocabulary.blank]
    again = rows.symbol + frame[rows.last]
    stays = np.logaddexp(blank, again) + rows.rank
    written = frame[symbols]
    longer = np.where(rows.last[:, None] == symbols, rows.blank[:, None], total[:, None]) + written
    row, column = _promising(stays, longer + rows.rank[:, None])
    nodes, added = rows.nodes.copy(), []
    place = {node: n for n, node in enumerate(nodes)}
    for parent, symbol, log_prob in zip(
        row.tolist(), symbols[column].tolist(), longer[row, column].tolist(), strict=True
    ):
        child = rows.nodes[parent].child(symbol, writer)
        at = place.get(child)
        if at is None:
            nodes.append(child)
            added.append((-math.inf, log_prob, child.rank, symbol))
        else:
            again[at] = np.logaddexp(again[at], log_prob)
    new = np.array(added).reshape(-1, 4).T
    blank, again = np.concatenate([blank, new[0]]), np.concatenate([again, new[1]])
    rank, last = np.concatenate([rows.rank, new[2]]), np.concatenate([rows.last, new[3].astype(np.intp)])
    total = np.logaddexp(blank, again) + rank
    order = np.argsort(-total, kind="stable")[:MOST_HYPOTHESES]
    order = order[total[order] >= total[order[0]] - MOST_BEHIND]
    return Rows(nodes, blank, again, rank, last).only(order, dropped=nodes)


def _promising(stays: Floats, longer: Floats) -> tuple[Symbols, Symbols]:
    """The extensions (rows, columns) that are worth being scored: neither far behind nor behind too many others."""
    every = np.concatenate([stays, longer.ravel()])
    bound = float(every.max()) - MOST_BEHIND
    if len(every) > MOST_HYPOTHESES:
        bound = max(bound, float(np.partition(every, -MOST_HYPOTHESES)[-MOST_HYPOTHESES]) - LEEWAY)
    row, column = np.nonzero(longer >= bound)
    return row, column


def start(writer: Writer) -> Rows:
    """Nothing has been written."""
    score = writer.scores.start()
    root = Node(None, writer.vocabulary.blank, Spelling(), score, writer.scores.rank(score, ""))
    return Rows([root], np.zeros(1), np.full(1, -math.inf), np.array([root.rank]), np.array([root.symbol]))
