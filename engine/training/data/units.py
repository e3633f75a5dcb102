"""Makes vocabularies from texts or files, and finds the symbols of texts that a vocabulary lacks."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from earshot_asr.engine.errors import CheckpointError, ConfigError
from earshot_asr.engine.files import present, read_json
from earshot_asr.engine.tokenizer import PHONEMES, TOKENIZERS
from earshot_asr.engine.training.data.spelling import Alphabet
from earshot_asr.engine.vocabulary import Vocabulary

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
DELIMITER = "|"
MOST_SYMBOLS = 5000
"""Symbols of a vocabulary made from texts, at most: enough for Chinese."""
TOKENIZER_FILES = ("vocab.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


def characters(texts: Iterable[str], largest: int = MOST_SYMBOLS) -> Vocabulary:
    """A vocabulary of special symbols, a "|" and all characters of normalized texts, the most frequent ones first.

    If there would be more than `largest` symbols, the rarest are left out. Raises ConfigError if there are no letters.
    """
    counts = Counter(char for text in texts for char in text if char != " ")
    if not counts:
        raise ConfigError("no text has a letter in it; a vocabulary can't be made of these manifests")
    symbols = sorted(counts, key=lambda char: (-counts[char], char))[: largest - len(SPECIAL) - 1]
    return _vocabulary([*SPECIAL, DELIMITER, *(char for char in symbols if char != DELIMITER)])


def phonemes(texts: Iterable[str]) -> Vocabulary:
    """A vocabulary of all phonemes of texts, which have spaces between phonemes, the most frequent ones first.

    It has no word delimiter, as words can't be told by their phonemes. Raises ConfigError if there are no phonemes.
    """
    counts = Counter(phone for text in texts for phone in text.split())
    if not counts:
        raise ConfigError("no text has a phoneme in it; a vocabulary can't be made of these manifests")
    symbols = sorted(counts, key=lambda phone: (-counts[phone], phone))
    return Vocabulary((*SPECIAL, *symbols), blank=0, special=frozenset(range(len(SPECIAL))), separator=" ")


def from_file(path: Path) -> Vocabulary:
    """A vocabulary from a vocab.json (symbol -> id) or from a text file with a symbol on each line.

    <pad> is CTC's blank, and "|" the word delimiter. Raises ConfigError.
    """
    if path.suffix == ".json":
        try:
            table = read_json(path)
        except CheckpointError as error:
            raise ConfigError(str(error)) from None
        if sorted(table.values(), key=str) != sorted(range(len(table)), key=str):
            raise ConfigError(f"{path}: the symbols must have the ids 0 to {len(table) - 1}, each once")
        symbols = sorted(table, key=lambda symbol: table[symbol])
    else:
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"can't read {path}: {error}") from None
        symbols = list(dict.fromkeys([*SPECIAL, DELIMITER, *filter(None, lines)]))
    if SPECIAL[0] not in symbols:
        raise ConfigError(f"{path} has no {SPECIAL[0]}, which is CTC's blank")
    return _vocabulary(symbols)


def _vocabulary(symbols: list[str]) -> Vocabulary:
    return Vocabulary(
        tuple(symbols),
        blank=symbols.index(SPECIAL[0]),
        delimiter=symbols.index(DELIMITER) if DELIMITER in symbols else None,
        special=frozenset(symbols.index(symbol) for symbol in SPECIAL if symbol in symbols),
    )


def tokenizer(vocabulary: Vocabulary) -> dict[str, dict[str, Any]]:
    """The tokenizer files that transformers needs for a vocabulary made here: name -> content."""
    phonemes = bool(vocabulary.separator)
    special = {
        key: token if token in vocabulary.symbols else None
        for key, token in zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIAL, strict=True)
    }
    delimiter = None if vocabulary.delimiter is None else vocabulary.symbols[vocabulary.delimiter]
    config = {
        "tokenizer_class": PHONEMES if phonemes else TOKENIZERS[0],
        "word_delimiter_token": delimiter,
        "do_lower_case": False,
        **({"do_phonemize": False} if phonemes else {}),
    }
    return {
        "vocab.json": {symbol: id for id, symbol in enumerate(vocabulary.symbols)},
        "tokenizer_config.json": {**config, **special},
        "special_tokens_map.json": {key: token for key, token in special.items() if token is not None},
    }


def tokenizer_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The tokenizer files of a checkpoint: name -> content. Raises CheckpointError."""
    return {name: read_json(folder / name) for name in TOKENIZER_FILES if present(folder / name)}


def check(vocabulary: Vocabulary, texts: Iterable[str]) -> Mapping[str, int]:
    """The symbols of normalized texts that the vocabulary lacks, and how often each occurs, the most frequent first."""
    alphabet = Alphabet(vocabulary)
    words = Counter(word for text in texts for word in text.split())
    units: Counter[str] = Counter()
    for word, count in words.items():
        for unit in [word] if vocabulary.separator else word:
            units[unit] += count
    return dict(Counter({unit: n for unit, n in units.items() if not alphabet.letters(unit)}).most_common())


def complaint(missing: Mapping[str, int], most: int = 20) -> str:
    """A message that names symbols which a vocabulary lacks."""
    listed = ", ".join(
        f"{json.dumps(unit, ensure_ascii=False)} ({count})" for unit, count in list(missing.items())[:most]
    )
    more = f" and {len(missing) - most} more" if len(missing) > most else ""
    total = sum(missing.values())
    return f"the vocabulary lacks {len(missing)} symbols of the texts, which occur {total} times: {listed}{more}"
