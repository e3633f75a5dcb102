"""Checkpoints as people publish them: each kind gives transformers' log-probabilities, and its tokenizer's text."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models
from torch import Tensor
from transformers import (
    AutoTokenizer,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2PhonemeCTCTokenizer,
    Wav2Vec2Processor,
)

from earshot_asr.engine.checkpoint import load_checkpoint
from earshot_asr.engine.runner import TorchRunner
from earshot_asr.engine.transcription import plain
from tests.engine.families.test_wav2vec2 import difference, speechlike
from tests.engine.test_checkpoint import CONVOLUTIONS, SMALL, edit

VOCAB = {"|": 0, "a": 1, "Σ": 2, "<pad>": 3, ".": 4, "'": 5, "<unk>": 6, "b": 7}
PCM = (speechlike(64_000, seed=5) * 8000).clamp(-32768, 32767).to(torch.int16).numpy()
SAMPLES = torch.from_numpy(PCM.astype(np.float32) / 32768)[None]
EXTRACTOR = Wav2Vec2FeatureExtractor()


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that writes all of its symbols in four seconds."""
    folder = tmp_path_factory.mktemp("checkpoint") / "varied"
    folder.mkdir()
    torch.manual_seed(0)
    model = Wav2Vec2ForCTC(Wav2Vec2Config(**SMALL | CONVOLUTIONS | {"vocab_size": len(VOCAB)})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "original0" not in name:
                parameter.normal_(std=1.5 / parameter[0].numel() ** 0.5)
        inputs = EXTRACTOR(SAMPLES[0].numpy(), sampling_rate=16000, return_tensors="pt")
        model.lm_head.weight.div_(model(**inputs).logits[0].std(0)[:, None])
        model.lm_head.bias.sub_(model(**inputs).logits[0].mean(0))
    model.save_pretrained(folder)
    EXTRACTOR.save_pretrained(folder)
    write(folder / "vocab.json", VOCAB)
    write(folder / "tokenizer_config.json", {"tokenizer_class": "Wav2Vec2CTCTokenizer"})
    assert sorted(set(log_probs(folder).argmax(-1).tolist())) == list(range(8))
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def log_probs(folder: Path) -> Tensor:
    with torch.inference_mode():
        out: Tensor = load_checkpoint(folder).encoder(SAMPLES)
    return out[0]


def their_log_probs(folder: Path, extractor: Any = EXTRACTOR) -> Tensor:
    inputs = extractor(SAMPLES[0].numpy(), sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        logits = Wav2Vec2ForCTC.from_pretrained(folder, dtype=torch.float32).eval()(**inputs).logits
    return torch.log_softmax(logits[0], -1)


def final(folder: Path) -> str:
    (heard,) = plain(TorchRunner(load_checkpoint(folder), torch.device("cpu")), [PCM])
    return heard.text


def single_spaced(text: str) -> str:
    """Finals have one space where a tokenizer writes one for each of several delimiters with a blank between them."""
    return " ".join(text.split())


def renamed(folder: Path, rename: Callable[[str], str]) -> None:
    path = folder / "model.safetensors"
    save_file({rename(name): tensor for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})


def symbols(**names: str) -> Callable[[Path], None]:
    """Gives symbols other names: a=... for the symbol "a"."""
    return lambda f: write(f / "vocab.json", {names.get(symbol, symbol): id for symbol, id in VOCAB.items()})


def settings(**entries: Any) -> Callable[[Path], None]:
    return lambda f: edit(f / "tokenizer_config.json", **entries)


def both(*changes: Callable[[Path], Any]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


def processor(folder: Path, tokenizer: Any) -> None:
    for name in ("preprocessor_config.json", "tokenizer_config.json"):
        (folder / name).unlink()
    Wav2Vec2Processor(EXTRACTOR, tokenizer).save_pretrained(folder)
    assert (folder / "processor_config.json").exists()


KINDS: dict[str, Callable[[Path], Any]] = {
    "as it is": lambda f: None,
    "spaces cleaned up": settings(clean_up_tokenization_spaces=True),
    "lower case, a final sigma": settings(do_lower_case=True),
    "lower case, spaces cleaned up": settings(do_lower_case=True, clean_up_tokenization_spaces=True),
    "two symbols of one id": lambda f: edit(f / "vocab.json", **{"é": 1}),
    "a head with more symbols than the vocabulary": lambda f: write(
        f / "vocab.json", {symbol: id for symbol, id in VOCAB.items() if symbol not in ("a", "b")}
    ),
    "a space beside the delimiter": symbols(b=" "),
    "Chinese, and a delimiter": symbols(a="你", b="好"),
    "another blank": both(
        symbols(**{"<pad>": "<ctc_blank>"}), settings(pad_token="<ctc_blank>", bos_token=None, eos_token=None)
    ),
    "the unknown is the blank": settings(unk_token="<pad>"),
    "no delimiter": settings(word_delimiter_token=None),
    "a processor as transformers 5 writes it": lambda f: processor(f, Wav2Vec2CTCTokenizer(f / "vocab.json")),
    "phonemes": lambda f: processor(f, Wav2Vec2PhonemeCTCTokenizer(f / "vocab.json", do_phonemize=False)),
    "another head beside": lambda f: save_file(
        {**load_file(f / "model.safetensors"), "classifier.weight": torch.ones(2)},
        f / "model.safetensors",
        metadata={"format": "pt"},
    ),
    "names without the prefix": lambda f: renamed(f, lambda name: name.removeprefix("wav2vec2.")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_transformers_loads_is_the_same_here(folder: Path, kind: str) -> None:
    KINDS[kind](folder)
    theirs = their_log_probs(folder)
    assert difference(log_probs(folder), theirs) < 1e-4
    ids = theirs.argmax(-1).tolist()
    text = AutoTokenizer.from_pretrained(folder).decode(ids)
    assert load_checkpoint(folder).vocabulary.text(ids) == text
    assert final(folder) == single_spaced(text)


def table(folder: Path, **entries: Any) -> None:
    """The vocabulary as the library tokenizers writes it."""
    model = {"type": "WordLevel", "vocab": VOCAB, "unk_token": "<unk>"}
    write(folder / "tokenizer.json", {"version": "1.0", "model": model, "decoder": None, **entries})
    (folder / "vocab.json").unlink()


SAME: dict[str, Callable[[Path], Any]] = {
    "names with a wrapper's prefix": lambda f: renamed(f, lambda name: f"module.{name}"),
    "no preprocessor": lambda f: (f / "preprocessor_config.json").unlink(),
    "an old preprocessor": lambda f: (f / "preprocessor_config.json").rename(f / "feature_extractor_config.json"),
    "tokenizer.json for a table": table,
    "the same, of no class": both(table, settings(tokenizer_class=None)),
    "a language of one's own": settings(target_lang="skr_pk"),
    "a blank that only config.json knows": settings(pad_token="[PAD]"),
}


@pytest.mark.parametrize("kind", SAME)
def test_what_transformers_does_not_load_is_what_it_is_made_of(saved: Path, folder: Path, kind: str) -> None:
    SAME[kind](folder)
    if kind.startswith("a blank"):
        edit(folder / "config.json", pad_token_id=VOCAB["<pad>"])
    assert torch.equal(log_probs(folder), log_probs(saved))
    assert final(folder) == final(saved)


def test_parts_of_words(folder: Path) -> None:
    tokens = ["<pad>", "<unk>", "▁a", "b", "▁", "▁ab", "c", "▁c"]
    model = models.BPE({token: id for id, token in enumerate(tokens)}, [("▁a", "b"), ("▁", "c")], unk_token="<unk>")
    theirs = Tokenizer(model)
    theirs.decoder = decoders.Metaspace()
    (folder / "vocab.json").unlink()
    theirs.save(str(folder / "tokenizer.json"))
    write(folder / "tokenizer_config.json", {"tokenizer_class": "ParakeetTokenizer", "pad_token": "<pad>"})
    ids = log_probs(folder).argmax(-1).tolist()
    text = AutoTokenizer.from_pretrained(folder).decode(ids)
    assert load_checkpoint(folder).vocabulary.text(ids) == text.strip()
    (heard,) = plain(TorchRunner(load_checkpoint(folder), torch.device("cpu")), [PCM])
    assert heard.text == single_spaced(text)
    assert [word.text for word in heard.words] == text.split()
