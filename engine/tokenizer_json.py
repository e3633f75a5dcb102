"""Symbols from tokenizer.json, the format of the library `tokenizers`: parts of words, as BPE and Unigram make them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earshot_asr.engine.errors import CheckpointError, UnsupportedModel, shown
from earshot_asr.engine.files import read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_JSON = "tokenizer.json"
HALF_CHARACTER = "\ufffd"
"""What is written for bytes that are no text by themselves."""


def table(folder: Path) -> dict[str, int]:
    """Symbol -> id, where tokenizer.json holds the same as vocab.json would. Raises CheckpointError."""
    content = read_json(folder / TOKENIZER_JSON)
    model = content.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(vocab, dict):
        raise CheckpointError(f"{folder / TOKENIZER_JSON}: model.vocab is {shown(vocab)}; it must map symbols to ids")
    try:
        added = {token["content"]: token["id"] for token in content.get("added_tokens") or ()}
    except (KeyError, TypeError):
        raise CheckpointError(f"{folder / TOKENIZER_JSON}: added_tokens must each have a content and an id") from None
    return {**vocab, **added}


def letters(folder: Path) -> bool:
    """Whether tokenizer.json is a plain table of symbols, with nothing to be done when text is made of them."""
    content = read_json(folder / TOKENIZER_JSON)
    model = content.get("model")
    return isinstance(model, dict) and model.get("type") == "WordLevel" and content.get("decoder") is None


def written(folder: Path, size: int | None) -> tuple[tuple[str, ...], Mapping[str, int]]:
    """What each id below `size` adds to a text, and the ids of the tokens.

    Read off what the library's decode makes of every id beside itself; then all of them in a row are compared with it.
    Raises CheckpointError, and UnsupportedModel where a text is not made of its symbols one by one.
    """
    tokenizer = _tokenizer(folder)
    ids = tokenizer.get_vocab(with_added_tokens=True)
    count = max(ids.values(), default=-1) + 1 if size is None else size

    def text(*ids: int) -> str:
        decoded: str = tokenizer.decode(list(ids), skip_special_tokens=False)
        return decoded

    pieces = tuple(text(id, id)[len(text(id)) :] for id in range(count))
    if any(HALF_CHARACTER in piece for piece in pieces) or "".join(pieces).strip() != text(*range(count)).strip():
        decoder = (read_json(folder / TOKENIZER_JSON).get("decoder") or {}).get("type")
        raise UnsupportedModel(
            f"{folder / TOKENIZER_JSON}: with the decoder {shown(decoder)}, a text is not made of its symbols one by "
            "one, as a stream needs it; supported are tables of characters, and of parts of words (BPE, Unigram)"
        )
    return pieces, ids


def cleans(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether clean_up_tokenization_spaces holds: transformers overlooks it for BPE."""
    kind = read_json(folder / TOKENIZER_JSON).get("model", {}).get("type")
    return bool(config.get("clean_up_tokenization_spaces", False)) and kind != "BPE"


def _tokenizer(folder: Path) -> "Tokenizer":
    from tokenizers import Tokenizer

    content = read_json(folder / TOKENIZER_JSON)
    try:
        return Tokenizer.from_str(json.dumps(content))
    except Exception as error:  # the library raises nothing more special
        reason = f"the library `tokenizers` can't read it: {shown(str(error))}"
        raise CheckpointError(f"{folder / TOKENIZER_JSON} is damaged or too new; {reason}") from None
