"""A small checkpoint of many languages, as MMS is: random weights that say something else in each of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.sources import open_file

RECORDING = Path(__file__).parents[1] / "client" / "data" / "demo.flac"
SMALL: dict[str, Any] = dict(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    conv_dim=(16,) * 7,
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=4,
    feat_extract_norm="layer",
    conv_bias=True,
    do_stable_layer_norm=True,
    adapter_attn_dim=8,
    pad_token_id=0,
)
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "|")
TOKENIZER: dict[str, Any] = dict(tokenizer_class="Wav2Vec2CTCTokenizer", word_delimiter_token="|", do_lower_case=False)
EXTRACTOR = Wav2Vec2FeatureExtractor(do_normalize=True)
TEN = ("ben", "cmn", "deu", "eng", "fra", "hin", "jpn", "rus", "spa", "uzb-script_latin")
LETTERS = {"ben": "অআইঈউএওকখগঘঙচছ", "cmn": "的一是不了人我在有他这中大来上", "hin": "अआइईउऊएऐओऔकखगघङ",
           "jpn": "あいうえおかきくけこさしすせそ", "rus": "абвгдежзийклмноп"}  # fmt: skip


def speech() -> Pcm:
    """The bundled recording: 11 s."""
    with open_file(RECORDING) as source:
        return np.concatenate([*source])


def alphabet(language: str, number: int) -> list[str]:
    """Letters of a language, of which each has another number."""
    return [*LETTERS.get(language, "abcdefghijklmnopqrstuvwxyz")][: 8 + number] + [f"{number}"]


def make(folder: Path, languages: Sequence[str] = TEN, own: str = "eng") -> Path:
    """A checkpoint whose own weights are those of `own`, and with adapter.LANG.safetensors for all languages."""
    folder.mkdir(parents=True, exist_ok=True)
    symbols = {each: (*SPECIAL, *alphabet(each, number)) for number, each in enumerate(languages)}
    torch.manual_seed(0)
    model = Wav2Vec2ForCTC(Wav2Vec2Config(**SMALL, vocab_size=len(symbols[own]))).eval()
    _randomize(model)
    for language in sorted(languages, key=lambda each: each == own):  # its own at last
        _new_language(model, len(symbols[language]))
        save_file(adapter_of(model), folder / f"adapter.{language}.safetensors")
    model.save_pretrained(folder)
    EXTRACTOR.save_pretrained(folder)
    tables = {each: {symbol: id for id, symbol in enumerate(of)} for each, of in symbols.items()}
    write(folder / "vocab.json", tables)
    write(folder / "tokenizer_config.json", {**TOKENIZER, "target_lang": own})
    return folder


def write(path: Path, content: object) -> None:
    """A file of JSON."""
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def adapter_of(model: Wav2Vec2ForCTC) -> dict[str, Tensor]:
    """What of a model belongs to the language that it speaks."""
    tensors = model.state_dict().items()
    return {name: t.clone() for name, t in tensors if "adapter_layer" in name or name.startswith("lm_head.")}


@torch.no_grad()
def _randomize(model: nn.Module) -> None:
    """Weights that hand on more of what they are given than those of a fresh model, so that frames differ."""
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and "original" not in name:
            nn.init.normal_(weight, std=1.5 / weight[0].numel() ** 0.5)


@torch.no_grad()
def _new_language(model: Wav2Vec2ForCTC, symbols: int) -> None:
    """Random adapters, and a random head to which no symbol is likelier than another over the whole recording."""
    for module in model.modules():
        if type(module).__name__ == "Wav2Vec2AttnAdapterLayer":
            _randomize(module)
    model.lm_head = nn.Linear(SMALL["hidden_size"], symbols)
    nn.init.normal_(model.lm_head.weight)
    nn.init.zeros_(model.lm_head.bias)
    model.config.vocab_size = symbols
    values = EXTRACTOR(speech() / np.float32(32768), sampling_rate=16000, return_tensors="pt").input_values
    model.lm_head.bias.copy_(-model(values).logits[0].mean(0))
