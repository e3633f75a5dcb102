"""Checkpoints by somebody who means harm: each is refused in a short line, before anything large is built or read."""

import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from earshot_asr.engine.checkpoint import build_encoder, load_checkpoint
from earshot_asr.engine.errors import CheckpointError, listed, shown
from earshot_asr.engine.families import FAMILIES, family_of
from earshot_asr.engine.files import MOST_JSON_BYTES, MOST_SHARDS
from earshot_asr.engine.training.data.units import characters
from earshot_asr.engine.training.export import save
from earshot_asr.engine.training.start import from_nothing
from tests.engine.training.tones import WAV2VEC2

NESTED = "[" * 100_000 + "]" * 100_000
WAIT_SECONDS = 20


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with nothing wrong."""
    folder = tmp_path_factory.mktemp("hostile") / "sound"
    start = from_nothing(WAV2VEC2, family_of(WAV2VEC2).preprocessor(WAV2VEC2), characters(["ABC"]))
    save(folder, start.encoder, start.config, start.preprocessor, start.tokenizer, start.masked, "float32")
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy of it, to break."""
    return Path(shutil.copytree(sound, tmp_path / "copy"))


@contextmanager
def pipe(path: Path) -> Iterator[None]:
    """A pipe that nobody writes to. Who reads it all the same waits so long, and then sees its end."""
    os.mkfifo(path)
    with subprocess.Popen(["sh", "-c", f'while sleep {WAIT_SECONDS}; do : <> "$0"; done', path]) as opening:
        try:
            yield
        finally:
            opening.kill()


def refused(folder: Path, pattern: str) -> None:
    """Sees that a checkpoint is refused with such a message, which is one short line without control characters."""
    with pytest.raises(CheckpointError, match=pattern) as caught:
        load_checkpoint(folder)
    message = str(caught.value)
    assert len(message) <= 300 and message.isprintable()


def complaint(call: Callable[..., object], *given: Any) -> str:
    """The message of the CheckpointError that a call raises; empty if it raises none."""
    try:
        call(*given)
    except CheckpointError as error:
        return str(error)
    return ""


# ---- settings


def edit(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **entries}), encoding="utf-8")


SIZES: dict[str, tuple[dict[str, Any], str]] = {
    "layers": ({"num_hidden_layers": 100_000}, "num_hidden_layers is 100000; it must be a whole number from 1 to 256"),
    "channels": ({"conv_dim": [10**9] * 7}, r"conv_dim is \[1000000000, .*each a whole number from 1 to 32,768"),
    "hundreds of convolutions": (
        {"conv_dim": [8] * 900, "conv_stride": [1] * 900, "conv_kernel": [1] * 900},
        "conv_dim is .*it must be a list of 1 to 64",
    ),
    "symbols": ({"vocab_size": 10**9}, "vocab_size is 1000000000; .*from 1 to 1,048,576"),
    "a frame of hours": (
        {"conv_stride": [32768] * 7},
        "a frame every .* samples, of .* samples; it must be 40 to 3,200",
    ),
    "a frame of a sample": ({"conv_stride": [1] * 7}, "a frame every 1 samples, of 20 samples; it must be 40"),
    "all in all": (
        {"hidden_size": 32768, "intermediate_size": 32768, "num_hidden_layers": 256, "num_attention_heads": 1},
        "a model of 1,6.. G parameters; 10 G are the most",
    ),
    "delay": ({"emission_delay_frames": 10**30}, "emission_delay_frames is 1000.*from 0 to 50"),
    "no number": ({"layer_norm_eps": float("inf")}, "layer_norm_eps is inf; it must be a number from 0 to"),
    "a long text": ({"hidden_act": "x" * 20_000}, "activation 'xxx.* is not supported"),
    "a large table": ({"hidden_size": {f"{n}": n for n in range(5000)}}, "hidden_size is {.*from 1 to 32,768"),
    "architectures": ({"architectures": 3}, "architectures is 3; it must be a list of names"),
    "an architecture": ({"architectures": ["\x1b[2J" * 5000]}, r"x1b\[2J.* has no CTC head"),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_have_ceilings(folder: Path, name: str) -> None:
    entries, message = SIZES[name]
    edit(folder / "config.json", **entries)
    refused(folder, message)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "vocab.json", "tokenizer_config.json"])
def test_json_is_bounded_in_depth_and_bytes(folder: Path, name: str) -> None:
    (folder / name).write_text('{"a": ' + NESTED + "}")
    refused(folder, f"{name} is not readable as JSON: it is nested too deeply")
    with (folder / name).open("wb") as file:
        file.truncate(MOST_JSON_BYTES + 1)
    refused(folder, f"{name} is larger than 16 MB")


def test_json_that_is_only_fingerprinted_is_bounded_too(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", added_tokens_decoder={})
    with (folder / "special_tokens_map.json").open("wb") as file:
        file.truncate(MOST_JSON_BYTES + 1)
    refused(folder, "special_tokens_map.json is larger than 16 MB")


VOCABULARIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "an id of a thousand million": ("vocab.json", {"X": 10**9}, "symbols to ids, whole numbers from 0 to 1,048,575"),
    "half a character": ("vocab.json", {"\ud83d": 20}, "is no symbol; symbols are short texts"),
    "a page as a symbol": ("vocab.json", {"x" * 5000: 20}, "is no symbol; symbols are short texts"),
    "added at no place": (
        "tokenizer_config.json",
        {"added_tokens_decoder": {"-1": {"content": "<x>"}}},
        "added tokens must have ids, whole numbers from 0 to 1,048,575",
    ),
    "added far away": (
        "tokenizer_config.json",
        {"added_tokens_decoder": {"1000000000": {"content": "<x>"}}},
        "added tokens must have ids",
    ),
    "added, without a name": (
        "tokenizer_config.json",
        {"added_tokens_decoder": {"20": {"content": ["x"] * 9999}}},
        "the list of added tokens makes no sense: TypeError",
    ),
    "a number is added": (
        "tokenizer_config.json",
        {"added_tokens_decoder": {"20": {"content": 7}}},
        "added tokens must have ids",
    ),
    "a list as the language": (
        "tokenizer_config.json",
        {"target_lang": [1]},
        r"target_lang is \[1\]; it must be the name of a language",
    ),
    "a number of extra tokens": ("tokenizer_config.json", {"extra_special_tokens": 5}, "extra special tokens are 5"),
    "a nested token": ("special_tokens_map.json", {"pad_token": [[[["x" * 999]]]]}, r"pad_token is \[.*a short text"),
}


@pytest.mark.parametrize("name", VOCABULARIES)
def test_vocabularies_have_ceilings(folder: Path, name: str) -> None:
    file, entries, message = VOCABULARIES[name]
    edit(folder / file, **entries)
    refused(folder, message)


ODD: list[Any] = [None, True, -1, 0, 1, 10**9, 10**30, 1.5, float("inf"), float("nan"), "x", "x" * 9999, [], {}, [[1]],
                  {"a": {"b": []}}, [10**9] * 9999]  # fmt: skip


INSIDE = {"parakeet_ctc": "encoder_config", "omniasr_ctc": "audio_config"}
"""The entry of config.json that has a family's sizes in it, where they are not in config.json itself."""


@pytest.mark.parametrize("kind", FAMILIES)
def test_any_setting_is_taken_or_refused_in_a_line(kind: str) -> None:
    """Whatever an entry is: an encoder comes of it, or a short message, and no other error."""
    family = family_of({"model_type": kind})
    config = {"model_type": kind, "vocab_size": 7, "num_hidden_layers": 1, "encoder_layers": 2}
    config = {**family.with_new_head(config), "architectures": [family.head]}
    preprocessor = family.preprocessor(config)
    kinds = [kind for name, kind in vars(import_module(FAMILIES[kind])).items() if name.endswith("Dims")]
    names = list(dict.fromkeys(field.name for kind in kinds if is_dataclass(kind) for field in fields(kind)))
    changes: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({name: value}, {})
        for name in ("architectures", "add_adapter", "position_embeddings_type", "vocab_size")
        for value in ODD
    ]
    if kind in INSIDE:
        config[INSIDE[kind]] = {"num_hidden_layers": 1}
        changes += [({INSIDE[kind]: {"num_hidden_layers": 1, name: value}}, {}) for name in names for value in ODD]
        changes += [({INSIDE[kind]: value}, {}) for value in ODD]
    else:
        changes += [({name: value}, {}) for name in names for value in ODD]
    changes += [({}, {name: value}) for name in (*preprocessor, "stride") for value in ODD]
    refused = [complaint(build_encoder, config | one, preprocessor | other) for one, other in changes]
    assert all(len(message) <= 300 for message in refused)
    assert 10 < refused.count("") < len(changes) - 10


# ---- files


SPECIAL = ("config.json", "vocab.json", "special_tokens_map.json", "added_tokens.json", "model.safetensors")


@pytest.mark.parametrize("name", SPECIAL)
def test_only_regular_files_are_read(folder: Path, name: str) -> None:
    path = folder / name
    path.unlink(missing_ok=True)
    if hasattr(os, "mkfifo"):
        with pipe(path):
            refused(folder, f"{name} is a pipe, a device or a socket; a checkpoint is made of regular files")
        path.unlink()
    if Path("/dev/null").exists():
        path.symlink_to("/dev/null")
        refused(folder, f"{name} is a pipe, a device or a socket")
        path.unlink()
    path.mkdir()
    refused(folder, f"{name} is a folder")


def test_links_to_regular_files_are_read(sound: Path, folder: Path) -> None:
    """The hub's cache is made of them."""
    for path in sound.iterdir():
        (folder / path.name).unlink()
        (folder / path.name).symlink_to(path)
    assert load_checkpoint(folder).fingerprint == load_checkpoint(sound).fingerprint


INDEXES: dict[str, tuple[dict[str, Any], str]] = {
    "too many files": ({f"{n}": f"{n}.safetensors" for n in range(MOST_SHARDS + 1)}, "lists 1,001 files; 1,000 are"),
    "missing files": (
        {f"{n}": f"{n}.safetensors" for n in range(MOST_SHARDS)},
        "lacks 0.safetensors, .* 99. more, which",
    ),
    "the folder above": ({"a": ".."}, "weight_map must give a .safetensors file beside it for each tensor"),
    "another kind of file": ({"a": "x.bin"}, "weight_map must give a .safetensors file beside it"),
    "no name": ({"a": None}, "weight_map must give a .safetensors file beside it"),
    "a name with a zero": ({"a": "\0.safetensors"}, r"x00.safetensors can't be read"),
    "a name of a page": ({"a": "x" * 9999 + ".safetensors"}, "can't be read"),
    "escapes": ({"a": "\x1b]0;owned\x07.safetensors"}, r"lacks \\x1b\]0;owned\\x07.safetensors, which"),
}


@pytest.mark.parametrize("name", INDEXES)
def test_indexes_of_shards(folder: Path, name: str) -> None:
    table, message = INDEXES[name]
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    refused(folder, message)


# ---- weights


def test_a_hundred_thousand_tensors(folder: Path) -> None:
    header = json.dumps({f"{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(100_000)})
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header.encode())
    refused(folder, "model.safetensors is damaged or no file of weights .100,000 tensors.")


def test_names_of_a_page_are_cut(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {**tensors, **{f"lm_head.{n}\x1b" + "x" * 5000: torch.zeros(1) for n in range(9)}}, folder / "model.safetensors"
    )
    refused(folder, r"Tensors unexpected: lm_head.0\\x1bx+... and 8 more")


TENSORS: dict[str, Callable[[dict[str, Any]], dict[Any, Any]]] = {
    "larger than what is stored": lambda t: {**t, "lm_head.bias": torch.zeros(1).expand(1 << 40)},
    "on no device": lambda t: {**t, "lm_head.bias": torch.zeros(8, device="meta")},
    "sparse": lambda t: {**t, "lm_head.bias": torch.zeros(8).to_sparse()},
    "complex": lambda t: {**t, "lm_head.bias": torch.zeros(8, dtype=torch.complex64)},
    "named by a number": lambda t: {**t, 5: torch.zeros(8)},
}


@pytest.mark.parametrize("name", TENSORS)
def test_odd_tensors_in_a_pickle(folder: Path, name: str) -> None:
    tensors = TENSORS[name](load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    refused(folder, "not supported: lm_head.bias|does not map names to tensors")


@pytest.mark.parametrize("kind", ["magnitude", "scale"])
def test_parts_of_a_weight_that_would_be_enormous_together(folder: Path, kind: str) -> None:
    """40,000 numbers each, and 1.6 G together."""
    tensors = load_file(folder / "model.safetensors")
    if kind == "scale":
        edit(folder / "config.json", earshot_weights="int8")
        tensors |= {"x": torch.zeros(40_000, 1, dtype=torch.int8), "x.scale": torch.zeros(1, 40_000)}
    else:
        tensors |= {"x.weight_v": torch.zeros(40_000, 1), "x.weight_g": torch.zeros(1, 40_000)}
    save_file(tensors, folder / "model.safetensors")
    refused(folder, "x.weight_g .* is no magnitude of|x is of int8, and lacks")


def test_a_pickle_that_unfolds(folder: Path) -> None:
    """Parts that are compressed could be a thousand times as large; torch never writes any."""
    (folder / "model.safetensors").unlink()
    for compression, part in ((zipfile.ZIP_DEFLATED, 100 << 20), (zipfile.ZIP_STORED, 9 << 20)):
        with zipfile.ZipFile(folder / "pytorch_model.bin", "w", compression) as archive:
            archive.writestr("x/data.pkl", bytes(part))
        refused(folder, "parts of it are compressed|its table of tensors is too large")


def test_damaged_pickles_are_refused_whatever_they_hold(folder: Path) -> None:
    """Bytes of a good file changed at random: an error of any kind is one line, and most of them are found."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    path = folder / "pytorch_model.bin"
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = []
    for _ in range(100):
        broken = bytearray(whole)
        for at in rng.integers(0, 600, 3):
            broken[at] = rng.integers(256)
        path.write_bytes(broken)
        refused.append(complaint(load_checkpoint, folder))
    assert all(len(message) <= 300 for message in refused)
    assert refused.count("") < 50


# ---- what is said


def test_what_a_file_holds_is_shown_short() -> None:
    assert shown("layer") == "'layer'"
    assert shown([1, 2]) == "[1, 2]"
    assert len(shown("x" * 9999)) <= 60 and len(shown([[["x" * 99] * 99] * 99] * 99)) <= 60
    assert listed(["a", "b"]) == "a, b"
    assert listed(f"{n:04}" for n in range(1000)) == ", ".join(f"{n:04}" for n in range(13)) + " and 987 more"
    assert listed(["x" * 99], 10) == "xxxxxxx..."


def test_a_long_message_loses_its_middle() -> None:
    message = str(CheckpointError("begin" + "x" * 999 + "\n\x1b end"))
    assert message.startswith("begin") and message.endswith("\\n\\x1b end") and len(message) == 300
