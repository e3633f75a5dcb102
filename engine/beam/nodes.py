"""The tree of what hypotheses have written: a node is a sequence of symbols, and what its words are worth."""

from collections.abc import Iterator
from typing import NamedTuple
from weakref import ref

from earshot_asr.engine.beam.scoring import Score, WordScores
from earshot_asr.engine.spelling import Spelling
from earshot_asr.engine.vocabulary import Vocabulary


class Writer(NamedTuple):
    """What is the same for all nodes of a decoder."""

    vocabulary: Vocabulary
    scores: WordScores


class Node:
    """A sequence of symbols, its last one `symbol`. A pure function of its parent and that symbol.

    spelling    of the word that is open
    ended       the last symbol has ended a word, which was open in the parent
    words       how many words have ended
    score       of the words that have ended
    rank        what a hypothesis of these symbols is worth, besides its acoustics
    """

    __slots__ = ("__weakref__", "_children", "ended", "parent", "rank", "score", "spelling", "symbol", "words")

    def __init__(self, parent: "Node | None", symbol: int, spelling: Spelling, score: Score, rank: float) -> None:
        self.parent = parent
        self.symbol = symbol
        self.spelling = spelling
        self.score = score
        self.rank = rank
        self.ended = False
        self.words: int = parent.words if parent else 0
        self._children: dict[int, ref[Node]] = {}

    def child(self, symbol: int, writer: Writer) -> "Node":
        """The sequence with one symbol more. The same object as long as anybody holds it."""
        known = self._children.get(symbol)
        child = known() if known else None
        if child is None:
            child = self._then(symbol, writer)
            self._children[symbol] = ref(child)
        return child

    def _then(self, symbol: int, writer: Writer) -> "Node":
        vocabulary, scores = writer
        before = self.spelling
        spelling, ended = before.then(vocabulary.pieces[symbol], vocabulary)
        ended = ended and bool(before.text)
        score = scores.close(self.score, vocabulary.lowered(before.text)) if ended else self.score
        if spelling.text and (ended or spelling.text != before.text):
            score = scores.spell(score, spelling.text)
        child = Node(self, symbol, spelling, score, scores.rank(score, spelling.text))
        child.ended = ended
        child.words += ended
        return child

    def path(self, root: "Node") -> "list[Node]":
        """The nodes from a root to this one, both included."""
        nodes, node = [self], self
        while node is not root:
            assert node.parent is not None
            node = node.parent
            nodes.append(node)
        return nodes[::-1]

    def ancestor(self, words: int) -> "Node":
        """The first node of the path with so many words that have ended."""
        node = self
        while node.parent is not None and node.parent.words >= words:
            node = node.parent
        return node


def endings(path: list[Node]) -> Iterator[tuple[int, int]]:
    """Of each word in a path: the indexes of its first node and one past its last one. The last word may be open."""
    first = 0
    for n, node in enumerate(path[1:], 1):
        if node.ended:
            yield first, n
            first = n
    if path[-1].spelling.text:
        yield first, len(path)
