"""The command: from recordings to a Wav2Vec2ForPreTraining that transformers, fine-tuning and the figure can use."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from earshot_asr.engine.errors import CheckpointError, ConfigError, TrainingError
from earshot_asr.engine.families.wav2vec2 import FAMILY
from earshot_asr.engine.training.__main__ import main
from earshot_asr.engine.training.pretrain.collapse import PATIENCE_LOOKS
from earshot_asr.engine.training.pretrain.command import only
from earshot_asr.engine.training.pretrain.languages import Languages, Masks
from earshot_asr.engine.training.pretrain.pretrained import create, load, open_pretrained
from earshot_asr.engine.training.pretrain.pretraining import STEPS_A_LOOK, Pretraining, Temperature
from earshot_asr.engine.training.shapes import PRETRAINING_SHAPES
from earshot_asr.engine.training.start import from_checkpoint
from earshot_asr.engine.vocabulary import Vocabulary
from tests.engine.training.pretrain.test_languages import corpus

SMALL = PRETRAINING_SHAPES["tiny"] | {
    "conv_dim": [8, 8, 8],
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "num_codevectors_per_group": 5,
    "codevector_dim": 8,
    "proj_codevector_dim": 8,
    "num_negatives": 5,
}
FILES = {"config.json": SMALL, "preprocessor_config.json": FAMILY.preprocessor(SMALL)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six recordings of a second, of three languages, and a config.json."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(1)
    rows = []
    for k, lang in enumerate(["fr", "fr", "de", "de", "it", "it"]):
        tones = np.sin(np.cumsum(rng.uniform(0.05, 0.9, 40).repeat(400)))
        soundfile.write(folder / f"{k}.wav", 0.3 * tones + 0.01 * rng.normal(size=16_000), 16_000)
        rows.append(json.dumps({"audio": f"{k}.wav", "lang": lang}))
    (folder / "all.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "dev.jsonl").write_text("\n".join(rows[1::2]) + "\n")
    (folder / "config.json").write_text(json.dumps(SMALL))
    return folder


def train(data: Path, out: Path, *more: str, steps: int = 4) -> None:
    """Runs the command."""
    fixed = ["--config", data / "config.json", "--cache", data / "cache", "--seconds", "0.7", "--batch", "4"]
    plain = ["--eager", "--device", "cpu", "--precision", "fp32", "--steps", steps]
    main(["pretrain", str(data / "all.jsonl"), "--out", str(out), *map(str, fixed), *map(str, plain), *more])


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_what_comes_out_is_loaded_by_transformers_and_for_fine_tuning(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transformers = pytest.importorskip("transformers")
    train(data, tmp_path / "out", "--dev", str(data / "dev.jsonl"), "--languages", "fr,de")
    assert "3 recordings left out: a recording that is judged on" in capsys.readouterr().err
    lines = log(tmp_path / "out")
    trained = next(line for line in lines if "accuracy" in line)
    assert {"loss", "contrastive", "diversity", "perplexity", "temperature", "norm", "trouble"} <= set(trained)
    (dev,) = [line["dev"] for line in lines if "dev" in line]
    assert set(dev["languages"]) == {"fr", "de"} and 2 <= dev["perplexity"] <= 10 and 0 <= dev["accuracy"] <= 1

    folder = tmp_path / "out" / "model"
    reference, report = transformers.Wav2Vec2ForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    model, files = open_pretrained(folder)
    samples = 0.1 * torch.randn(1, 16_000)
    normalized = (samples - samples.mean()) / samples.std(correction=0)
    expected = reference.eval()(normalized).projected_states
    assert files["config.json"]["architectures"] == ["Wav2Vec2ForPreTraining"]
    with torch.no_grad():
        got = model.eval().project_hid(model.wav2vec2.encode(samples, None))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)

    reference.save_pretrained(tmp_path / "theirs")
    back = load(tmp_path / "theirs", SMALL, FILES["preprocessor_config.json"])
    for name, weight in model.state_dict().items():
        if "lm_head" not in name:
            torch.testing.assert_close(back.state_dict()[name], weight, rtol=1e-5, atol=1e-6)

    start = from_checkpoint(folder, Vocabulary(("<pad>", "a", "b"), blank=0))
    assert start.new_head and start.encoder.vocab_size == 3
    torch.testing.assert_close(start.masked, model.masked_spec_embed)
    assert start.config["architectures"] == ["Wav2Vec2ForCTC"]


def test_a_run_that_is_stopped_goes_on_as_if_nothing_had_been(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "whole", steps=6)
    train(data, tmp_path / "parts", "--stop-after", "1e-9", steps=6)  # after a step
    assert log(tmp_path / "parts")[-1]["share"] < 1
    train(data, tmp_path / "parts", steps=6)
    one, other = (torch.load(tmp_path / out / "state.pt")["model"] for out in ("whole", "parts"))
    for name, weight in one.items():
        assert weight.equal(other[name]), name


def test_recordings_of_any_length_are_cut_into_crops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: Path
) -> None:
    hiss = np.random.default_rng(1).integers(-99, 99, 121 * 16_000, np.int16)
    soundfile.write(data / "long.wav", hiss, 16_000)
    (data / "long.jsonl").write_text('{"audio": "long.wav", "lang": "fr"}\n')
    plain = ["--eager", "--device", "cpu", "--steps", "1", "--batch", "2", "--seconds", "0.7"]
    shape = ["--config", str(data / "config.json"), "--cache", str(data / "cache")]
    main(["pretrain", str(data / "long.jsonl"), "--out", str(tmp_path / "out"), *shape, *plain])
    assert "100% of the speech" in capsys.readouterr().err


def test_on_from_a_checkpoint(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "first", steps=1)
    more = ["--out", str(tmp_path / "second"), "--cache", str(data / "cache"), "--seconds", "0.7", "--steps", "1"]
    same = ["--adamw", "1e-30", "--eager", "--device", "cpu", "--precision", "fp32"]
    main(["pretrain", str(data / "all.jsonl"), "--from", str(tmp_path / "first" / "model"), *more, *same])
    one, other = (open_pretrained(tmp_path / out / "model")[0].state_dict() for out in ("first", "second"))
    for name, weight in one.items():
        if "lm_head" not in name:
            torch.testing.assert_close(other[name], weight)


def test_codes_are_listed_and_drawn(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(data, tmp_path / "out", steps=1)
    capsys.readouterr()
    main(
        ["codes", str(tmp_path / "out" / "model"), str(data / "all.jsonl"), "--out", str(tmp_path / "codes.svg")]
        + ["--least", "1", "--cache", str(data / "cache"), "--device", "cpu"]
    )
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == ["language", "de", "fr", "it", "all"]
    assert (tmp_path / "codes.svg").read_text().startswith("<svg")


def test_what_can_not_be_is_said_in_a_line(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, message in (
        (["--shape", "tiny"], "give one of --from, --config and --shape"),
        (["--languages", "fr,xx"], "all.jsonl; there are de, fr, it"),
        (
            ["--languages", "fr,xx", "--dev", str(data / "all.jsonl")],
            "no recording is left (a recording that is judged",
        ),
        (["--min-gumbel-temperature", "3"], "the Gumbel temperature can't fall from 2 to 3"),
    ):
        with pytest.raises(SystemExit) as ended:
            train(data, tmp_path / message[:9], *more)
        assert ended.value.code == 1 and message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--diversity", "--penalty"])
@pytest.mark.parametrize("weight", ["nan", "-5", "inf"])
def test_weights_of_losses_are_numbers_from_0_on(
    option: str, weight: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        train(data, tmp_path, f"{option}={weight}")
    assert ended.value.code == 2 and f"argument {option}: {weight} is not a number from 0 on" in capsys.readouterr().err


def test_out_of_memory_names_the_size_of_a_batch_first(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(args: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("earshot_asr.engine.training.pretrain.command.run", full)
    with pytest.raises(SystemExit):
        train(data, tmp_path)
    assert "out of memory; take smaller batches (--batch, then --seconds)" in capsys.readouterr().err


def test_only_wav2vec2_is_pretrained() -> None:
    with pytest.raises(CheckpointError, match=r"these can: wav2vec2$"):
        create({"model_type": "wav2vec2-bert"}, {})


def test_a_model_without_a_quantizer(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A fine-tuned one may be pretrained on, with a new quantizer; it has no codes to be looked at."""
    train(data, tmp_path / "out", steps=1)
    folder = tmp_path / "out" / "model"
    encoder = {n: t for n, t in load_file(folder / "model.safetensors").items() if n.startswith("wav2vec2.")}
    save_file(encoder, folder / "model.safetensors")
    capsys.readouterr()
    load(folder, SMALL, FILES["preprocessor_config.json"])
    assert capsys.readouterr().err == f"{folder} has no quantizer; a new one is begun\n"
    with pytest.raises(CheckpointError, match="it must be a Wav2Vec2ForPreTraining"):
        open_pretrained(folder)
    del encoder["wav2vec2.encoder.layer_norm.bias"]
    save_file(encoder, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"missing.*: wav2vec2\.encoder\.layer_norm\.bias"):
        load(folder, SMALL, FILES["preprocessor_config.json"])


def test_a_bare_model_and_one_without_an_embedding_of_the_mask(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As transformers' Wav2Vec2Model is saved, and one that was never masked."""
    train(data, tmp_path / "out", steps=1)
    folder, preprocessor = tmp_path / "out" / "model", FILES["preprocessor_config.json"]
    whole = load_file(folder / "model.safetensors")
    expected = load(folder, SMALL, preprocessor).state_dict()
    mask = "wav2vec2.masked_spec_embed"
    capsys.readouterr()

    def loaded(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        save_file(tensors, folder / "model.safetensors")
        return load(folder, SMALL, preprocessor).state_dict()

    def same(found: dict[str, torch.Tensor]) -> set[str]:
        return {name.split(".")[0] for name, weight in found.items() if weight.equal(expected[name])}

    bare = {n.removeprefix("wav2vec2."): t for n, t in whole.items() if n.startswith("wav2vec2.")}
    assert {"wav2vec2", "masked_spec_embed"} <= same(loaded(bare))
    assert capsys.readouterr().err == f"{folder} has no quantizer; a new one is begun\n"
    found = loaded({n: t for n, t in whole.items() if n != mask})
    assert {"wav2vec2", "quantizer", "project_q", "project_hid"} <= same(found)
    assert not found["masked_spec_embed"].equal(expected["masked_spec_embed"])
    assert capsys.readouterr().err == f"{folder} has no {mask}; a new one is begun\n"
    with pytest.raises(CheckpointError, match=r"missing.*: project_q\.bias$"):
        loaded({n: t for n, t in whole.items() if n != "project_q.bias"})


def test_languages_are_chosen() -> None:
    assert len(only(corpus(), ["big"])) == 4
    assert len(only(corpus(), ["small", "und"])) == 2
    with pytest.raises(ConfigError, match="there is no fr"):
        only(corpus(), ["fr"])


def test_temperature() -> None:
    falling = Temperature()
    assert falling.at(0, 0.0) == 2.0
    assert falling.at(10**6, 0.35) == pytest.approx(1.0)  # half-way to 0.7
    assert falling.at(0, 0.7) == pytest.approx(0.5) and falling.at(0, 1.0) == 0.5
    by_step = Temperature(decay=0.999995)
    assert by_step.at(100_000, 0.9) == pytest.approx(2 * 0.999995**100_000)
    assert by_step.at(10**6, 0.0) == 0.5
    with pytest.raises(ConfigError, match="decay of the Gumbel temperature is 2"):
        Temperature(decay=2.0)


@pytest.mark.parametrize("stop", [False, True])
def test_a_collapse_is_said_or_ends_the_run(stop: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """All codewords but one are out of reach."""
    model = create(SMALL, FILES["preprocessor_config.json"])
    with torch.no_grad():
        model.quantizer.weight_proj.weight.zero_()
        model.quantizer.weight_proj.bias.view(2, 5)[:, 0] = 50.0
    module = Pretraining(model, Temperature(), eager=True, stop=stop)
    source = Languages(corpus(), model.wav2vec2.grid, torch.device("cpu"), Masks(num_negatives=5), seconds=0.5, batch=1)
    batch = source.draw(0)

    def run() -> float:
        for step in range(STEPS_A_LOOK * PATIENCE_LOOKS):
            _, figures = module(batch, step / 100)
        return float(figures["trouble"])

    if stop:
        with pytest.raises(TrainingError, match=r"the codebook has collapsed: 2\.0 of 10"):
            run()
    else:
        assert run() == 1
        assert "warning: the codebook has collapsed" in capsys.readouterr().err


TWO = """
import sys, torch
from earshot_asr.engine.errors import TrainingError
from earshot_asr.engine.training.distributed import World
from earshot_asr.engine.training.pretrain.pretrained import create
from earshot_asr.engine.training.pretrain.pretraining import Pretraining, Temperature
from tests.engine.training.pretrain.test_command import FILES, SMALL

world = World("cpu")
stop = sys.argv[1] == "stop"
model = create(SMALL, FILES["preprocessor_config.json"])
module = Pretraining(model, Temperature(), world=world, eager=True, stop=stop)
try:
    for step in range(200):
        module._look(step / 200, torch.tensor([0.5, 4.0 - 3.0 * world.rank]))
except TrainingError:
    print("stopped", step, flush=True)
world.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("stop", [False, True])
def test_two_processes_judge_alike(stop: bool) -> None:
    """Where one alone sees nothing wrong and the other does, both stop at the same step, and the first says so."""
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{29613 + stop}", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, "stop" if stop else "go"],
            env={**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    (first, warned), (second, other) = (process.communicate(timeout=120) for process in processes)
    assert not any(process.returncode for process in processes), warned + other
    assert first == second and first.startswith("stopped") == stop
    assert ("the codebook has collapsed" in warned) == (not stop) and "collapsed" not in other
