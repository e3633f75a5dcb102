"""Symbols of a CTC head and the text they make, as transformers' Wav2Vec2CTCTokenizer has it. No torch.

Phonemes, too, as Wav2Vec2PhonemeCTCTokenizer has them: a symbol is a phoneme, and the text is phonemes with spaces
between them. And parts of words, as tokenizer.json has them: a symbol may begin with a space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from earshot_asr.engine import scripts, tokenizer, tokenizer_json

CLEANING = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
"""clean_up_tokenization_spaces: what English tokenizers split, joined again."""


class Piece(NamedTuple):
    """What a symbol writes: its text, and the spaces before and after it. A space, and the blank, have no text."""

    before: str
    text: str
    after: str


@dataclass(frozen=True)
class Vocabulary:
    """Which id means what.

    symbols      index = id; an id that means nothing has `unknown`. Parts of words have the spaces that they write
    blank        CTC's blank: the tokenizer's padding token
    delimiter    id of the word delimiter, or of the space itself; None if the head has neither
    special      ids of symbols that are no text (bos, eos, unknown, blank); text() writes them out all the same, as
                 the tokenizer does, except for the blank
    unknown      stands for ids outside the vocabulary
    space        what the delimiter becomes in the text
    separator    between any two symbols: nothing for letters, a space for phonemes
    lower, clean do_lower_case, clean_up_tokenization_spaces
    """

    symbols: tuple[str, ...]
    blank: int
    delimiter: int | None = None
    special: frozenset[int] = frozenset()
    unknown: str = "<unk>"
    space: str = " "
    separator: str = ""
    lower: bool = False
    clean: bool = False

    def __post_init__(self) -> None:
        assert 0 <= self.blank < self.size, (self.blank, self.size)
        assert self.delimiter is None or 0 <= self.delimiter < self.size, (self.delimiter, self.size)

    @property
    def size(self) -> int:
        """Number of ids."""
        return len(self.symbols)

    @cached_property
    def merged(self) -> npt.NDArray[np.intp]:
        """[id]: the first id with the same symbol. Two frames of one symbol are a repeat, as in text()."""
        first: dict[str, int] = {self.symbols[self.blank]: self.blank}
        if self.delimiter is not None:
            first.setdefault(self.symbols[self.delimiter], self.delimiter)
        return np.array([first.setdefault(symbol, id) for id, symbol in enumerate(self.symbols)])

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """[id]: what the symbol writes, its case as in the vocabulary."""
        return tuple(self._piece(id) for id in range(self.size))

    def _piece(self, id: int) -> Piece:
        written = self._written(self._symbol(id))
        if self.delimiter is not None and self._symbol(id) == self.symbols[self.delimiter]:
            return Piece(written or self.separator, "", "")
        text = written.strip()
        if not text:
            return Piece(written, "", "")
        return Piece(written[: len(written) - len(written.lstrip())], text, written[len(written.rstrip()) :])

    @cached_property
    def spaced(self) -> bool:
        """Whether it can write a space between words. If not, every symbol is a word."""
        return any(piece.before or piece.after for piece in self.pieces)

    @cached_property
    def plain(self) -> bool:
        """Whether only spaces end words."""
        return self.spaced and not any(scripts.spaceless(char) for piece in self.pieces for char in piece.text)

    def begins(self, before: str, after: str) -> bool:
        """Whether a word begins with the text `after` if nothing but blanks is between it and the text `before`."""
        if before and after and self.plain:
            return False
        if not before or not after:
            return not self.spaced or (bool(before) and scripts.spaceless(before[-1]))
        if self.separator:
            return not self.spaced
        if self.spaced:
            return scripts.breaks(before[-1], after[0])
        return not scripts.clings(before[-1], after[0])

    def lowered(self, text: str) -> str:
        """A word, in the case that the vocabulary writes."""
        return text.lower() if self.lower else text

    def cleaned(self, text: str) -> str:
        """The text without the spaces that clean_up_tokenization_spaces takes away."""
        if self.clean:
            for split in CLEANING:
                text = text.replace(split, split.strip())
        return text

    def text(self, ids: Sequence[int]) -> str:
        """The text of frame-wise ids: repeats count once, blanks not at all, spaces at both ends are stripped.

        Equal to the tokenizer's decode(ids); like there, two ids of the same symbol are a repeat.
        """
        written = (self._written(symbol) for symbol, _ in groupby(map(self._symbol, ids)))
        return self.cleaned(self.lowered(self.separator.join(filter(None, written)).strip()))

    def _symbol(self, id: int) -> str:
        return self.symbols[id] if 0 <= id < self.size else self.unknown

    def _written(self, symbol: str) -> str:
        if symbol == self.symbols[self.blank]:
            return ""
        return self.space if self.delimiter is not None and symbol == self.symbols[self.delimiter] else symbol

    @classmethod
    def from_folder(cls, folder: str | Path, size: int | None = None, language: str | None = None) -> Self:
        """From vocab.json or tokenizer.json, tokenizer_config.json, special_tokens_map.json and added_tokens.json.

        `size`: number of outputs of the head. Ids from there on are dropped, ids that the files do not know are
        unknown. None: as many as the files know.
        `language`: which part of a vocab.json of several languages; None: what tokenizer_config.json says.
        Raises CheckpointError; UnsupportedModel for another tokenizer.
        """
        folder = Path(folder)
        config = tokenizer.settings(folder)
        if language is not None:
            config["target_lang"] = language
        if tokenizer.in_parts(folder, config):
            return cls._of_parts(folder, config, size)
        table = tokenizer.table(folder, config)
        replacement = config["replace_word_delimiter_char"]
        phonemes = config["tokenizer_class"] == tokenizer.PHONEMES
        count = max(table.values(), default=-1) + 1 if size is None else size
        symbols = {id: symbol for symbol, id in table.items() if id < count}  # of two with one id, the later one
        inside = {symbol: id for id, symbol in symbols.items()}
        unknown = config["unk_token"] or ""
        return cls(
            symbols=tuple(symbols.get(id, unknown) for id in range(count)),
            blank=tokenizer.blank(folder, config["pad_token"], inside, count),
            delimiter=inside.get(config["word_delimiter_token"], None if phonemes else inside.get(replacement)),
            special=frozenset(inside[config[key]] for key in tokenizer.SPECIAL if config.get(key) in inside),
            unknown=unknown,
            space="" if phonemes else replacement,
            separator=" " if phonemes else "",
            lower=bool(config.get("do_lower_case", False)) and not phonemes,
            clean=bool(config.get("clean_up_tokenization_spaces", False)),
        )

    @classmethod
    def _of_parts(cls, folder: Path, config: Mapping[str, Any], size: int | None) -> Self:
        """From tokenizer.json, whose symbols are parts of words, with the spaces that they write."""
        pieces, ids = tokenizer_json.written(folder, size)
        special = {ids.get(config[key] or "", len(pieces)) for key in tokenizer.SPECIAL} & set(range(len(pieces)))
        blank = tokenizer.blank(folder, config["pad_token"], ids, len(pieces))
        if ids.get(config["pad_token"] or "") in special - {blank}:  # then transformers, too, leaves out all of them
            pieces = tuple("" if id in special else piece for id, piece in enumerate(pieces))
        return cls(
            symbols=pieces,
            blank=blank,
            special=frozenset(special),
            unknown="",
            clean=tokenizer_json.cleans(folder, config),
        )
