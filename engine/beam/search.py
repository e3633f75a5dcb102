"""The search itself: hypotheses in rows, a frame at a time."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from earshot_asr.engine.beam.nodes import Node, Writer
from earshot_asr.engine.spelling import Spelling

Floats = npt.NDArray[np.float64]
MOST_HYPOTHESES = 48
MOST_BEHIND = 10.0
"""A hypothesis is dropped that is so much worse than the best one: a natural logarithm."""


class Rows:
    """The hypotheses that are alive, best first.

    nodes       their symbols
    blank       [row]: log-probability of all paths that end in a blank
    symbol      [row]: of those that end in the last symbol
    rank, last  [row]: of the nodes
    dropped     nodes that were left behind in the newest frame: the next one is likely to come upon them again
    """

    __slots__ = ("blank", "dropped", "last", "nodes", "rank", "symbol")

    def __init__(self, nodes: list[Node], blank: Floats, symbol: Floats) -> None:
        self.nodes = nodes
        self.blank = blank
        self.symbol = symbol
        self.rank = np.array([node.rank for node in nodes])
        self.last = np.array([node.symbol for node in nodes])
        self.dropped: list[Node] = []

    def total(self) -> Floats:
        """[row]: log-probability of the hypothesis and what its words are worth."""
        total: Floats = np.logaddexp(self.blank, self.symbol) + self.rank
        return total

    def only(self, rows: Sequence[int] | npt.NDArray[np.intp]) -> "Rows":
        """Some of them, in this order."""
        return Rows([self.nodes[row] for row in rows], self.blank[rows], self.symbol[rows])


def silent(rows: Rows, log_prob: float) -> Rows:
    """A frame that is surely blank: no hypothesis is extended, and their order stays."""
    after = Rows.__new__(Rows)
    after.nodes, after.rank, after.last, after.dropped = rows.nodes, rows.rank, rows.last, rows.dropped
    after.blank = np.logaddexp(rows.blank, rows.symbol) + log_prob
    after.symbol = np.full(len(rows.nodes), -np.inf)
    return after


def step(rows: Rows, symbols: npt.NDArray[np.intp], frame: Floats, writer: Writer) -> Rows:
    """One frame. `symbols` are those that may be written in it; `frame` (V,) its log-probabilities."""
    total = np.logaddexp(rows.blank, rows.symbol)
    blank = total + frame[writer.vocabulary.blank]
    again = rows.symbol + frame[rows.last]
    stays = np.logaddexp(blank, again) + rows.rank
    written = frame[symbols]
    longer = np.where(rows.last[:, None] == symbols, rows.blank[:, None], total[:, None]) + written
    row, column = _promising(stays, longer + rows.rank[:, None])
    nodes, more = rows.nodes.copy(), []
    place = {node: n for n, node in enumerate(nodes)}
    for parent, symbol, log_prob in zip(
        row.tolist(), symbols[column].tolist(), longer[row, column].tolist(), strict=True
    ):
        child = rows.nodes[parent].child(symbol, writer)
        at = place.setdefault(child, len(nodes))
        if at == len(nodes):
            nodes.append(child)
            more.append(log_prob)
        else:
            again[at] = np.logaddexp(again[at], log_prob)
    after = Rows(
        nodes,
        np.concatenate([blank, np.full(len(more), -np.inf)]),
        np.concatenate([again, more]),
    )
    best = _best(after)
    best.dropped = nodes
    return best


def _promising(stays: Floats, longer: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The extensions (rows, columns) that are worth being scored: neither far behind nor behind too many others."""
    every = longer.ravel()
    best = max(float(stays.max()), float(every.max(initial=-np.inf)))
    bound = best - MOST_BEHIND
    if len(every) > 2 * MOST_HYPOTHESES:
        bound = max(bound, float(np.partition(every, -2 * MOST_HYPOTHESES)[-2 * MOST_HYPOTHESES]))
    row, column = np.nonzero(longer >= bound)
    return row, column


def _best(rows: Rows) -> Rows:
    total = rows.total()
    order = np.argsort(-total, kind="stable")[:MOST_HYPOTHESES]
    return rows.only(order[total[order] >= total[order[0]] - MOST_BEHIND])


def start(writer: Writer) -> Rows:
    """Nothing has been written."""
    score = writer.scores.start()
    root = Node(None, writer.vocabulary.blank, Spelling(), score, writer.scores.rank(score, ""))
    return Rows([root], np.zeros(1), np.full(1, -math.inf))
