"""How symbols, one after another, make words: where one ends and the next begins, and what stands between them."""

from typing import NamedTuple

from earshot_asr.engine.vocabulary import Piece, Vocabulary


class Spelling(NamedTuple):
    """What has been written of the word that is open.

    text      its letters; empty: none is open
    before    what stands between the word before it and it
    space     the spaces written since its last letter
    """

    text: str = ""
    before: str = ""
    space: str = ""

    def then(self, piece: Piece, vocabulary: Vocabulary) -> "tuple[Spelling, bool]":
        """What is open once a symbol has written its piece, and whether the word that was open has ended."""
        text, before, space = self
        ended = bool(text and (space or vocabulary.begins(text, piece.text))) or bool(piece.before)
        if ended:
            text = before = ""
        space = space or piece.before
        if not piece.text:
            return Spelling(text, before, space), ended
        if not text:
            return Spelling(piece.text, space or vocabulary.separator, piece.after), ended
        return Spelling(text + vocabulary.separator + piece.text, before, piece.after), ended
