"""Symbols of a CTC head and the text they make, as transformers' Wav2Vec2CTCTokenizer has it. No torch.

Phonemes, too, as Wav2Vec2PhonemeCTCTokenizer has them: a symbol is a phoneme, and the text is phonemes with spaces
between them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Self, TypeGuard

from earshot_asr.engine.errors import CheckpointError, UnsupportedModel, shown
from earshot_asr.engine.files import present, read_json

PHONEMES = "Wav2Vec2PhonemeCTCTokenizer"
TOKENIZERS = ("Wav2Vec2CTCTokenizer", "Wav2Vec2Tokenizer", PHONEMES)
SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""In the order in which the tokenizer appends those that vocab.json lacks."""
DEFAULTS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
CLEANING = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
"""clean_up_tokenization_spaces: what English tokenizers split, joined again."""
MOST_SYMBOLS, MOST_CHARACTERS = 1 << 20, 100
"""Ids of a vocabulary, and characters of a symbol, at most."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Which id means what.

    symbols      index = id; an id that means nothing has `unknown`
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

    @property
    def joiner(self) -> str:
        """What stands between two words: a space; for letters without a word delimiter, nothing."""
        return self.separator if self.separator or self.delimiter is None else self.space

    def piece(self, id: int) -> str:
        """What a collapsed symbol adds to the text: '' for the blank, a space for the delimiter.

        Lower-cased one by one, which for all but a Greek final sigma is what text() does.
        """
        symbol = self._written(self._symbol(id))
        return symbol.lower() if self.lower else symbol

    def text(self, ids: Sequence[int]) -> str:
        """The text of frame-wise ids: repeats count once, blanks not at all, spaces at both ends are stripped.

        Equal to the tokenizer's decode(ids); like there, two ids of the same symbol are a repeat.
        """
        written = (self._written(symbol) for symbol, _ in groupby(map(self._symbol, ids)))
        text = self.separator.join(filter(None, written)).strip()
        if self.lower:
            text = text.lower()
        if self.clean:
            for split in CLEANING:
                text = text.replace(split, split.strip())
        return text

    def _symbol(self, id: int) -> str:
        return self.symbols[id] if 0 <= id < self.size else self.unknown

    def _written(self, symbol: str) -> str:
        if symbol == self.symbols[self.blank]:
            return ""
        return self.space if self.delimiter is not None and symbol == self.symbols[self.delimiter] else symbol

    @classmethod
    def from_folder(cls, folder: str | Path, size: int | None = None, language: str | None = None) -> Self:
        """From vocab.json, tokenizer_config.json, special_tokens_map.json and added_tokens.json of a checkpoint.

        `size`: number of outputs of the head. Ids from there on are dropped, ids that the files do not know are
        unknown. None: as many as the files know.
        `language`: which part of a vocab.json of several languages; None: what tokenizer_config.json says.
        Raises CheckpointError; UnsupportedModel for another tokenizer.
        """
        folder = Path(folder)
        config = _settings(folder)
        if language is not None:
            config["target_lang"] = language
        table = _table(folder, config)
        pad, unknown = config["pad_token"], config["unk_token"] or ""
        replacement = config["replace_word_delimiter_char"]
        phonemes = config["tokenizer_class"] == PHONEMES
        count = max(table.values(), default=-1) + 1 if size is None else size
        symbols = [unknown] * count
        for symbol, id in table.items():
            if id < count:
                symbols[id] = symbol
        inside = {symbol: id for symbol, id in table.items() if id < count}
        if pad is None or pad not in inside:
            raise CheckpointError(
                f"{folder}: pad_token {shown(pad)}, CTC's blank, is not among the {count} symbols of the head; "
                "vocab.json, tokenizer_config.json and config.json do not belong together"
            )
        return cls(
            symbols=tuple(symbols),
            blank=inside[pad],
            delimiter=inside.get(config["word_delimiter_token"], None if phonemes else inside.get(replacement)),
            special=frozenset(inside[config[key]] for key in SPECIAL if config.get(key) in inside),
            unknown=unknown,
            space="" if phonemes else replacement,
            separator=" " if phonemes else "",
            lower=bool(config.get("do_lower_case", False)) and not phonemes,
            clean=bool(config.get("clean_up_tokenization_spaces", False)),
        )


def _settings(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json over the defaults; special_tokens_map.json over both, unless added tokens are listed."""
    path = folder / "tokenizer_config.json"
    config = read_json(path) if present(path) else {}
    kind = config.get("tokenizer_class") or TOKENIZERS[0]
    if kind not in TOKENIZERS:
        supported = f"{TOKENIZERS[0]} and {PHONEMES}"
        raise UnsupportedModel(f"tokenizer_class {shown(kind)} is not supported; supported are {supported}")
    delimiter = None if kind == PHONEMES else "|"
    config = {**DEFAULTS, "word_delimiter_token": delimiter, **config, "tokenizer_class": kind}
    path = folder / "special_tokens_map.json"
    if present(path) and "added_tokens_decoder" not in config:
        config.update(read_json(path))
    for key in (*SPECIAL, "word_delimiter_token", "replace_word_delimiter_char"):
        config[key] = _content(key, config.get(key))
    config["replace_word_delimiter_char"] = config["replace_word_delimiter_char"] or " "
    return config


def _content(key: str, token: Any) -> str | None:
    """A token is written as a string, or as an object that holds one."""
    if isinstance(token, Mapping):
        token = token.get("content")
    if token is not None and not _is_symbol(token):
        raise CheckpointError(f"tokenizer_config.json: {key} is {shown(token)}; it must be a short text")
    return token


def _table(folder: Path, config: Mapping[str, Any]) -> dict[str, int]:
    """Symbol -> id: vocab.json, then the tokens added to it, then special tokens that are in neither, appended."""
    vocab = _vocab(folder / "vocab.json", config.get("target_lang"))
    added = {symbol: id for symbol, id in _added(folder, config).items() if symbol not in vocab}
    extra = config.get("additional_special_tokens") or config.get("extra_special_tokens") or ()
    if not isinstance(extra, list | dict | tuple):
        raise CheckpointError(f"tokenizer_config.json: extra special tokens are {shown(extra)}; they must be a list")
    phonemes = config["tokenizer_class"] == PHONEMES  # whose delimiter is not added
    special = [config[key] for key in (SPECIAL if phonemes else (*SPECIAL, "word_delimiter_token"))]
    special += [_content("extra_special_tokens", token) for token in extra]
    fresh = dict.fromkeys(token for token in special if token and token not in vocab and token not in added)
    first = len(vocab) + len(added)
    added |= {token: first + i for i, token in enumerate(fresh)}
    known = set(vocab.values())  # an id of vocab.json comes before the same id of an added token
    return {**vocab, **{symbol: id for symbol, id in added.items() if id not in known}}


def _vocab(path: Path, language: Any) -> dict[str, int]:
    """The symbols in vocab.json, or in its part for a language where it has such parts."""
    vocab = read_json(path)
    nested = any(isinstance(part, dict) for part in vocab.values())
    if nested and language is None:
        raise CheckpointError(f"{path} has several languages; target_lang in tokenizer_config.json must name one")
    where = f"{path} at target_lang {shown(language)}" if nested else f"{path}"
    table = vocab if not nested else vocab.get(language) if isinstance(language, str) else None
    if not isinstance(table, dict) or not all(map(_is_id, table.values())):
        raise CheckpointError(f"{where} must map symbols to ids, whole numbers from 0 to {MOST_SYMBOLS - 1:,}")
    if len(set(table.values())) < len(table):
        raise CheckpointError(f"{where} gives one id to several symbols")
    if odd := next((symbol for symbol in table if not _is_symbol(symbol)), None):
        raise CheckpointError(f"{where}: {shown(odd)} is no symbol; symbols are short texts")
    return table


def _is_id(id: Any) -> bool:
    return type(id) is int and 0 <= id < MOST_SYMBOLS


def _is_symbol(symbol: Any) -> TypeGuard[str]:
    """Whether it is text that can be written: no half of a surrogate pair, and not too long."""
    good = isinstance(symbol, str) and len(symbol) <= MOST_CHARACTERS
    return good and not any("\ud800" <= c <= "\udfff" for c in symbol)


def _added(folder: Path, config: Mapping[str, Any]) -> dict[str, int]:
    """The tokens listed in tokenizer_config.json, or else in added_tokens.json."""
    path = folder / "added_tokens.json"
    try:
        if "added_tokens_decoder" in config:
            added = {token["content"]: int(id) for id, token in config["added_tokens_decoder"].items()}
        else:
            added = read_json(path) if present(path) else {}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {shown(str(error))}"
        raise CheckpointError(f"{folder}: the list of added tokens makes no sense: {reason}") from None
    if not all(map(_is_symbol, added)) or not all(map(_is_id, added.values())):
        raise CheckpointError(f"{folder}: added tokens must have ids, whole numbers from 0 to {MOST_SYMBOLS - 1:,}")
    return added
