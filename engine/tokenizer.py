"""The files of a checkpoint's tokenizer: its settings, and which id means which symbol. No torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from earshot_asr.engine import tokenizer_json
from earshot_asr.engine.errors import CheckpointError, UnsupportedModel, shown
from earshot_asr.engine.files import present, read_json

VOCAB = "vocab.json"
PHONEMES = "Wav2Vec2PhonemeCTCTokenizer"
TOKENIZERS = ("Wav2Vec2CTCTokenizer", "Wav2Vec2Tokenizer", PHONEMES)
SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""In the order in which the tokenizer appends those that vocab.json lacks."""
DEFAULTS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
MOST_SYMBOLS, MOST_CHARACTERS = 1 << 20, 100
"""Ids of a vocabulary, and characters of a symbol, at most."""


def blank(folder: Path, pad: str | None, ids: Mapping[str, int], size: int) -> int:
    """CTC's blank: blank_token_id in config.json, which few have; else the tokenizer's padding token; or if the head
    has no such symbol, pad_token_id in config.json."""
    config = read_json(folder / "config.json") if present(folder / "config.json") else {}
    id: Any = config.get("blank_token_id", ids.get(pad or "", size))
    if type(id) is not int or id >= size:
        id = config.get("pad_token_id")
    if type(id) is int and 0 <= id < size:
        return id
    raise CheckpointError(
        f"{folder}: pad_token {shown(pad)}, CTC's blank, is not among the {size} symbols of the head; "
        "vocab.json, tokenizer_config.json and config.json do not belong together"
    )


def in_parts(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether the symbols are those of a tokenizer.json that transformers, too, would read as such."""
    named = config["tokenizer_class"]
    if present(folder / tokenizer_json.TOKENIZER_JSON):
        plain = present(folder / VOCAB) or tokenizer_json.letters(folder)
        return named not in TOKENIZERS if named is not None else not plain
    if named in (None, *TOKENIZERS):
        return False
    supported = f"{TOKENIZERS[0]}, {PHONEMES} and what has a tokenizer.json"
    raise UnsupportedModel(f"tokenizer_class {shown(named)} is not supported; supported are {supported}")


def settings(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json over the defaults; special_tokens_map.json over both, unless added tokens are listed."""
    path = folder / "tokenizer_config.json"
    config = read_json(path) if present(path) else {}
    kind = config.get("tokenizer_class") or None
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


def table(folder: Path, config: Mapping[str, Any]) -> dict[str, int]:
    """Symbol -> id: vocab.json, then the tokens added to it, then special tokens that are in neither, appended."""
    vocab = _vocab(folder, config.get("target_lang"))
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


def _vocab(folder: Path, language: Any) -> dict[str, int]:
    """The symbols in vocab.json, or in its part for a language; or in tokenizer.json, if that is all there is."""
    path = folder / VOCAB
    if not present(path):
        if not present(folder / tokenizer_json.TOKENIZER_JSON):
            raise CheckpointError(
                f"{folder} has no {VOCAB} and no {tokenizer_json.TOKENIZER_JSON}: it was saved without its tokenizer; "
                "copy these files from where the training began, or train a new head: `earshot train ctc --from`"
            )
        path = folder / tokenizer_json.TOKENIZER_JSON
    vocab = read_json(path) if path.name == VOCAB else tokenizer_json.table(folder)
    nested = any(isinstance(part, dict) for part in vocab.values())
    if nested and language is None:
        raise CheckpointError(f"{path} has several languages; target_lang in tokenizer_config.json must name one")
    where = f"{path} at target_lang {shown(language)}" if nested else f"{path}"
    table = vocab if not nested else vocab.get(language) if isinstance(language, str) else None
    if not isinstance(table, dict) or not all(map(_is_id, table.values())):
        raise CheckpointError(f"{where} must map symbols to ids, whole numbers from 0 to {MOST_SYMBOLS - 1:,}")
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
