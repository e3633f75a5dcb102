"""`earshot train ctc`: it learns, what it writes is served, checkpoints are fine-tuned, errors are one line."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCTC,
    AutoModelForPreTraining,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForPreTraining,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from earshot_asr.engine.checkpoint import load_checkpoint
from earshot_asr.engine.model import BUNDLED
from earshot_asr.engine.runner import load_runner
from earshot_asr.engine.training import options, state
from earshot_asr.engine.training.__main__ import USELESS, main, parser_for
from earshot_asr.engine.training.ctc import command as module
from earshot_asr.engine.training.ctc.arguments import RETIRED
from earshot_asr.engine.training.ctc.model import CtcModel, Losses
from earshot_asr.engine.training.data.crops import Crops
from earshot_asr.engine.training.data.units import characters
from earshot_asr.engine.training.distributed import World
from earshot_asr.engine.training.export import save
from earshot_asr.engine.training.loop import LoopOptions, train
from earshot_asr.engine.training.regularization import Regularization
from earshot_asr.engine.training.start import from_checkpoint
from earshot_asr.engine.training.task import TrainingBatch
from earshot_asr.engine.weights import read_tensors
from tests import mms
from tests.engine.families.test_relatives import PARTS
from tests.engine.families.test_wav2vec2 import SMALL as SMALL_WAV2VEC2
from tests.engine.families.test_whisper import SMALL as SMALL_WHISPER
from tests.engine.training import tones

QUICK = ["--steps", "3", "--eager", "--precision", "fp32", "--device", "cpu", "--augment", "0", "--seconds", "2"]
SMALL = ["--shape", "tiny", "--width", "64", "--depth", "2", "--inner", "32"]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tones as recordings with texts; dev.jsonl beside it has other texts, in two folds."""
    folder = tmp_path_factory.mktemp("tones")
    for name, texts in (("all", tones.TEXTS), ("dev", ("BAD CAB", "ABBA", "DAB A", "CAD"))):
        rows = []
        for n, text in enumerate(texts):
            soundfile.write(folder / f"{name}{n}.wav", tones.say(text), 16000)
            corpus = ("even", "odd")[n % 2]
            rows.append({"audio": f"{name}{n}.wav", "text": text.lower(), "corpus": corpus, "fold": n % 2})
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "all.jsonl"


@pytest.fixture
def command(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command on the tones, all dev; returns what it says."""

    def run(*args: str | Path) -> str:
        given = ["ctc", str(manifest), "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
        tones.train_a_little([*given, *QUICK, *map(str, args)])
        return capsys.readouterr().err

    return run


def failure(command: Callable[..., str], capsys: pytest.CaptureFixture[str], *args: str | Path, status: int = 1) -> str:
    """The last line of a command that fails."""
    with pytest.raises(SystemExit) as ended:
        command(*args)
    assert ended.value.code == status
    return capsys.readouterr().err.splitlines()[-1]


def test_it_learns_what_the_tones_say(tmp_path: Path) -> None:
    state.begin(tmp_path, {})
    quick = LoopOptions(steps=180, muon=1e-2, adamw=1e-2, average=0.9, half=False)
    assert train(tones.task(losses=Losses(last_stage=True)), quick, tmp_path, World("cpu")) == ""
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["dev"]["pooled"] == {"wer": 0.0, "cer": 0.0}
    runner = load_runner(tmp_path / "model")
    for text in tones.TEXTS:
        log_probs = runner.run([tones.say(text, seed=9)])[0]
        assert runner.info.vocabulary.text(log_probs.argmax(-1).tolist()) == text


def test_from_nothing_to_a_model_that_transformers_and_the_engine_load(
    command: Callable[..., str], manifest: Path, tmp_path: Path
) -> None:
    dev = manifest.parent / "dev.jsonl"
    said = command(*SMALL, "--dev", dev, "--fold", "1", "--dtype", "float32")
    assert "goes on" not in said
    assert "done" in said
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert set(lines[-1]["dev"]) == {"pooled", "score"}  # one corpus only is in that fold
    assert {"ctc", "loss", "norm", "rate", "hours", "times_real_time"} <= lines[-2].keys()
    for name in ("model", "best"):
        checkpoint = load_checkpoint(tmp_path / "out" / name)
        assert checkpoint.vocabulary.symbols[4] == "|"
        assert set(checkpoint.vocabulary.symbols[5:]) == set("ABCD")
        _, info = AutoModelForCTC.from_pretrained(tmp_path / "out" / name, output_loading_info=True)
        assert not info["missing_keys"] | info["unexpected_keys"]
    assert "the schedule is done" in command(*SMALL, "--dev", dev)  # what it is judged on may change


@pytest.mark.parametrize(("dev", "whose"), [(False, "4 of the recordings it was trained on"), (True, "4 of --dev")])
def test_a_model_that_has_learned_nothing_is_said_and_is_an_exit_status(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], dev: bool, whose: str
) -> None:
    given = ["ctc", f"{manifest}", "--out", f"{tmp_path / 'out'}", "--cache", f"{tmp_path / 'cache'}", *QUICK, *SMALL]
    given += ["--dev", f"{manifest.parent / 'dev.jsonl'}"] if dev else []
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert ended.value.code == USELESS == 3
    *_, done, line = capsys.readouterr().err.splitlines()
    assert done.startswith("done: ")
    assert line.startswith(f"earshot: {tmp_path / 'out' / 'model'}: the model ")
    assert "writes nothing" in line or "has learned nothing" in line
    assert line.endswith(f", on {whose}; {module.REMEDY}")
    assert load_checkpoint(tmp_path / "out" / "model")  # which is there all the same
    main([*given, "--stop-after", "1e-9", "--steps", "9"])  # a run that is not done yet is no failure
    assert "stopped" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "eager"),
    [
        (["--minutes", "2"], True),
        (["--minutes", "29"], True),
        (["--minutes", "30"], False),
        ([], False),
        (["--minutes", "2", "--steps", "9"], False),
        (["--minutes", "2", "--no-eager"], False),
        (["--eager"], True),
    ],
)
def test_a_short_run_is_not_spent_on_compiling(args: list[str], eager: bool) -> None:
    argv = ["ctc", "all.jsonl", "--out", "out", *args]
    said: list[str] = []
    assert options.eager(parser_for(argv, "train").parse_args(argv), said.append) == eager
    assert bool(said) != eager


def pretrained(folder: Path) -> Path:
    """A tiny wav2vec 2.0 as it comes from pretraining: no head, no vocabulary."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        **{**tones.WAV2VEC2, "num_codevectors_per_group": 8, "codevector_dim": 16, "proj_codevector_dim": 16}
    )
    Wav2Vec2ForPreTraining(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": True, "sampling_rate": 16000})
    )
    return folder


def test_a_pretrained_checkpoint_gets_a_head(command: Callable[..., str], tmp_path: Path) -> None:
    folder = pretrained(tmp_path / "pretrained")
    command(
        "--from",
        folder,
        "--layerdrop",
        "0.3",
        "--freeze-body",
        "0.5",
        "--dtype",
        "float32",
        "--mask-feature-prob",
        "0.1",
    )
    out = load_checkpoint(tmp_path / "out" / "model").encoder.state_dict()
    theirs = Wav2Vec2ForPreTraining.from_pretrained(folder).wav2vec2.state_dict()
    convolution = out["feature_extractor.conv_layers.1.conv.weight"].permute(2, 1, 0)
    assert torch.equal(convolution, theirs["feature_extractor.conv_layers.1.conv.weight"])  # frozen
    assert not torch.equal(
        out["encoder.layers.0.attention.out_proj.weight"], theirs["encoder.layers.0.attention.out_proj.weight"]
    )
    config = json.loads((tmp_path / "out" / "model" / "config.json").read_text())
    assert config["architectures"] == ["Wav2Vec2ForCTC"]
    assert (config["layerdrop"], config["mask_feature_prob"], config["vocab_size"]) == (0.3, 0.1, 9)
    command(
        "--from", tmp_path / "out" / "model", "--out", tmp_path / "more", "--dtype", "float32"
    )  # its own head is kept
    more = load_checkpoint(tmp_path / "more" / "model")
    assert more.vocabulary == load_checkpoint(tmp_path / "out" / "model").vocabulary


def test_adapters_learn_along_with_the_head(command: Callable[..., str], tmp_path: Path) -> None:
    """Of a model of many languages (MMS): what comes out is a model of one."""
    folder = mms.make(tmp_path / "mms", ("deu", "eng"))
    command("--from", folder, "--vocabulary", "characters", "--dtype", "float32")
    before, out = load_checkpoint(folder), load_checkpoint(tmp_path / "out" / "model")
    assert (out.languages, set(out.vocabulary.symbols[5:])) == ((), set("ABCD"))
    tensors = before.encoder.state_dict()
    moved = {name for name, tensor in out.encoder.state_dict().items() if not tensor.equal(tensors[name])}
    assert {name for name in out.encoder.adapted if "adapter_layer" in name} <= moved
    theirs, info = AutoModelForCTC.from_pretrained(tmp_path / "out" / "model", output_loading_info=True)
    assert not info["missing_keys"] | info["unexpected_keys"]
    assert theirs.config.adapter_attn_dim == 8


def test_a_model_of_many_languages_keeps_the_head_and_the_language_of_its_own_weights(tmp_path: Path) -> None:
    folder = mms.make(tmp_path / "mms", ("deu", "eng"))
    start = from_checkpoint(folder)
    assert all(parameter.requires_grad for parameter in start.encoder.parameters())
    save(tmp_path / "out", start.encoder, start.config, start.preprocessor, start.tokenizer, start.masked, "float32")
    assert "language" in from_checkpoint(BUNDLED).config
    assert "language" not in from_checkpoint(BUNDLED, characters(["XYZ"])).config
    kept, before = load_checkpoint(tmp_path / "out"), load_checkpoint(folder)
    assert (kept.vocabulary, kept.language, kept.languages) == (before.vocabulary, "eng", ("eng",))
    samples = torch.from_numpy(mms.speech()[None, :16_000] / 32768).float()
    assert torch.equal(kept.encoder(samples), before.encoder(samples))


@pytest.mark.parametrize("kind", PARTS)
def test_a_pretrained_relative_of_wav2vec2_gets_a_head(command: Callable[..., str], tmp_path: Path, kind: str) -> None:
    """With losses on a middle layer, too; it learns in all layers, and transformers loads what comes of it."""
    torch.manual_seed(0)
    small = {"num_codevectors_per_group": 8, "codevector_dim": 16, "proj_codevector_dim": 16, "num_clusters": 5}
    config = AutoConfig.for_model(kind, **{**SMALL_WAV2VEC2, **PARTS[kind][-1], **small})
    made: Any = AutoModelForPreTraining if kind.startswith("unispeech") else AutoModel
    theirs = made.from_config(config)
    theirs.save_pretrained(tmp_path / "bare")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "bare")
    begun = from_checkpoint(tmp_path / "bare", characters(tones.TEXTS)).encoder
    learning = ["--no-freeze-features", "--freeze-body", "0", "--warmup", "0", "--intermediate-ctc", "0.3"]
    command("--from", tmp_path / "bare", "--dtype", "float32", "--average", "0", "--layerdrop", "0", *learning)
    model = tmp_path / "out" / "model"
    checkpoint = load_checkpoint(model)
    assert len(checkpoint.vocabulary.symbols) == 9
    after = checkpoint.encoder.state_dict()
    assert [name for name, weight in begun.state_dict().items() if torch.equal(after[name], weight)] == []
    _, info = AutoModelForCTC.from_pretrained(model, output_loading_info=True)
    assert not info["missing_keys"] | info["unexpected_keys"]


def whisper(folder: Path) -> Path:
    """A tiny Whisper, decoder and all."""
    torch.manual_seed(0)
    WhisperModel(WhisperConfig(**SMALL_WHISPER)).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder


def test_a_whisper_gets_a_head_and_layers_below_it(command: Callable[..., str], tmp_path: Path) -> None:
    """First alone; then all that is not frozen learns, the lower the more slowly."""
    folder = whisper(tmp_path / "whisper")
    exact = ["--dtype", "float32", "--ctc-layers", "1", "--average", "0"]
    begun = from_checkpoint(folder, characters(tones.TEXTS), {"ctc_layers": 1}).encoder.state_dict()
    command("--from", folder, *exact, "--freeze-body", "1")
    first = load_checkpoint(tmp_path / "out" / "model").encoder.state_dict()
    theirs = WhisperModel.from_pretrained(folder).encoder
    assert torch.equal(first["blocks.2.fc1.weight"], theirs.layers[2].fc1.weight)
    learned = {name.split(".")[0] for name, tensor in first.items() if not torch.equal(tensor, begun[name])}
    assert learned == {"lm_head", "top"}
    config = json.loads((tmp_path / "out" / "model" / "config.json").read_text())
    assert (config["architectures"], config["ctc_layers"], config["ctc_inputs"]) == (["WhisperForCTC"], 1, [2, 3])
    more = ["--freeze-layers", "1", "--layer-decay", "0.5", "--adamw", "1e-3", "--by-frame", "0"]
    command("--from", tmp_path / "out" / "model", "--out", tmp_path / "more", "--dtype", "float32", *more)
    second = load_checkpoint(tmp_path / "more" / "model")
    assert second.vocabulary == load_checkpoint(tmp_path / "out" / "model").vocabulary
    moved = {name: float((tensor - first[name]).abs().mean()) for name, tensor in second.encoder.state_dict().items()}
    assert moved["conv1.weight"] == moved["blocks.0.fc1.weight"] == 0
    assert 0 < moved["blocks.1.fc1.weight"] < 0.7 * moved["blocks.2.fc1.weight"] < 0.7 * moved["lm_head.weight"]


def test_a_body_that_is_frozen_is_not_gone_back_through(tmp_path: Path) -> None:
    """Masks learn, too, and lie below all layers: not then."""
    start = from_checkpoint(whisper(tmp_path / "whisper"), characters(tones.TEXTS), {"ctc_layers": 1})
    masks = Regularization(mask_time_prob=0.5, mask_time_length=2)
    model = CtcModel(start.encoder, start.masked, 0, regularization=masks, losses=Losses(), freeze_body=0.5, eager=True)
    samples = torch.randn(2, start.encoder.grid.span(0, 40)[1]) * 0.1
    batch = TrainingBatch(samples, None, torch.tensor([5, 6]), torch.tensor([1, 1]))
    for share, frozen in ((0.4, True), (0.6, False)):
        model.zero_grad()
        loss, _ = model(batch, share)
        loss.backward()
        graded = [name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()]
        learning = {name.removeprefix("encoder.").split(".")[0] for name in graded}
        assert {"lm_head", "top"} <= learning
        assert (learning == {"lm_head", "top"}) is frozen
        assert (start.masked.grad is None) is frozen


def test_killed_while_the_body_is_frozen_and_resumed(manifest: Path, tmp_path: Path) -> None:
    """The same comes out as of a run that was not killed, to the bit."""
    folder = whisper(tmp_path / "whisper")
    given = ["ctc", str(manifest), "--cache", str(tmp_path / "cache"), "--from", str(folder), *QUICK, "--steps", "6"]
    given += ["--freeze-body", "0.5", "--layer-decay", "0.5", "--dtype", "float32", "--muon", "1e-3"]
    tones.train_a_little([*given, "--out", str(tmp_path / "whole")])
    main([*given, "--out", str(tmp_path / "parts"), "--stop-after", "1e-9"])
    step = torch.load(tmp_path / "parts" / "state.pt", weights_only=True)["step"]
    assert 0 < step < 3
    tones.train_a_little([*given, "--out", str(tmp_path / "parts")])
    whole, parts = (read_tensors([tmp_path / name / "model" / "model.safetensors"]) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_ctc_layers_where_they_have_no_place(
    command: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    complaint = "--ctc-layers is for a new head on a Whisper"
    assert complaint in failure(command, capsys, *SMALL, "--ctc-layers", "1")
    folder = whisper(tmp_path / "whisper")
    command("--from", folder, "--ctc-layers", "1")
    ours = ("--from", tmp_path / "out" / "model", "--out", tmp_path / "more")
    assert complaint in failure(command, capsys, *ours, "--ctc-layers", "2")
    line = failure(command, capsys, *ours, "--ctc-layers", "0", "--vocabulary", "characters")
    assert "--ctc-layers 0: this checkpoint was trained with layers on top" in line


def test_a_new_alphabet_keeps_the_layers_on_top(command: Callable[..., str], tmp_path: Path) -> None:
    command("--from", whisper(tmp_path / "whisper"), "--ctc-layers", "1", "--dtype", "float32")
    kept = from_checkpoint(tmp_path / "out" / "model", characters(["XYZ"])).encoder.state_dict()
    before = load_checkpoint(tmp_path / "out" / "model").encoder.state_dict()
    assert kept["lm_head.weight"].shape != before["lm_head.weight"].shape
    assert all(torch.equal(kept[name], before[name]) for name in before if not name.startswith("lm_head"))


@pytest.mark.parametrize(("layers", "last"), [(0, "layer_norm.weight"), (1, "blocks.2.fc1.weight")])
def test_rates_fall_from_layer_to_layer(layers: int, last: str, tmp_path: Path) -> None:
    start = from_checkpoint(whisper(tmp_path), characters(tones.TEXTS), {"ctc_layers": layers})
    scales = module.scales_by_layer(start.encoder, 0.5)
    assert scales[f"encoder.{last}"] == scales["encoder.blocks.2.qkv.weight"] == 0.5
    assert scales["encoder.blocks.0.qkv.weight"] == 0.125
    assert scales["encoder.conv1.weight"] == 0.0625
    assert not any(name.startswith(("encoder.lm_head", "encoder.top")) for name in scales)


def test_another_script_and_thousands_of_symbols(manifest: Path, tmp_path: Path) -> None:
    texts = ["".join(chr(0x4E00 + 2 * n + k) for k in range(2)) for n in range(3000)]
    rows = [{"audio": str(manifest.parent / f"all{n % 4}.wav"), "text": text} for n, text in enumerate(texts)]
    (tmp_path / "zh.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["ctc", str(tmp_path / "zh.jsonl"), "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    tones.train_a_little([*given, *QUICK, *SMALL, "--unknown", "drop"])
    checkpoint = load_checkpoint(tmp_path / "out" / "model")
    assert checkpoint.vocabulary.size == 5000
    assert "一" in checkpoint.vocabulary.symbols


def test_settings_may_not_change_but_for_some(command: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    command(*SMALL)
    line = failure(command, capsys, *SMALL, "--seed", "1", "--adamw", "1e-3")
    assert "other settings: adamw was not set, is 0.001, seed was 0, is 1; give the same ones" in line
    assert "done" in command(*SMALL, "--steps", "5", "--stop-after", "9", "--keep-every", "1", "--dtype", "float32")


def test_a_manifest_that_became_another(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As many symbols as before, the most frequent one another: the head would write one for another."""
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    mine = manifest.parent / "mine.jsonl"

    def written(text: str) -> str:
        mine.write_text("".join(json.dumps(row | {"text": text}) + "\n" for row in rows))
        return f"{mine}"

    given = ["--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), *QUICK, *SMALL]
    tones.train_a_little(["ctc", written("abb"), *given])
    with pytest.raises(SystemExit):
        main(["ctc", written("aab"), *given])
    assert "holds a run with another vocabulary" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        ([], "give one of --from, --config and --shape"),
        (["--from", "nowhere"], "there is no folder nowhere"),
        (["--shape", "tiny", "--width", "65"], "--width 65 is not a multiple of 64"),
        (["--config", "nowhere/config.json"], "nowhere has no config.json"),
        ([*SMALL, "--vocabulary", "keep"], "no vocabulary to keep"),
        ([*SMALL, "--vocabulary", "nowhere.json"], "has no nowhere.json"),
        ([*SMALL, "--mix", "0.5"], "no alignment, so --mix must be 1"),
        ([*SMALL, "--warmup", "0.7", "--hold", "0.5"], "warm-up 0.7 and hold 0.5"),
        ([*SMALL, "--layerdrop", "1.5"], "layerdrop is 1.5"),
        ([*SMALL, "--mask-time-length", "0"], "mask_time_length is 0"),
        ([*SMALL, "--weight", "none=2"], "no corpus none"),
        ([*SMALL, "--device", "tpu"], "'tpu'"),
        ([*SMALL, "--dev", "nowhere.jsonl"], "nowhere.jsonl"),
        ([*SMALL, "--average", "1"], "average is 1"),
    ],
)
def test_bad_input_is_named_in_a_line(
    command: Callable[..., str], capsys: pytest.CaptureFixture[str], args: list[str], wanted: str
) -> None:
    line = failure(command, capsys, *args)
    assert line.startswith("earshot: ")
    assert wanted in line


def test_what_is_not_aligned_is_heard_whole(
    command: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By its share of the audio, unless --mix says another; very little of it never."""
    long = [{"audio": f"all{n}.wav", "words": _words(text)} for n, text in enumerate(tones.TEXTS[:3])]
    path = tmp_path / "alignments.jsonl"

    def said(count: int, *args: str, name: str) -> str:
        path.write_text("".join(json.dumps(line) + "\n" for line in long[:count]))
        return command(*SMALL, "--alignments", path, "--out", tmp_path / name, *args)

    lengths = [len(tones.say(text)) for text in tones.TEXTS]
    share = lengths[3] / sum(lengths)
    assert f"{share:.0%} of the audio has no alignment: --mix {share:.2f}, whole utterances" in said(3, name="three")
    assert "--mix" not in said(3, "--mix", "0.5", name="half")
    two = said(2, name="two")
    assert f"--mix {sum(lengths[2:]) / sum(lengths):.2f}" in two
    monkeypatch.setattr(module, "MOST_UNALIGNED", share + 0.01)
    assert "--mix" not in said(3, name="few")


def test_lengths_of_crops(command: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = []

    class Seen(Crops):
        def draw(self, step: int) -> TrainingBatch:
            made.append((self.frames, self.odds))
            return super().draw(step)

    monkeypatch.setattr(module, "Crops", Seen)
    path = tmp_path / "alignments.jsonl"
    lines = [{"audio": f"all{n}.wav", "words": _words(text)} for n, text in enumerate(tones.TEXTS)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    command(*SMALL, "--alignments", path, "--out", tmp_path / "out", "--crop", "0.6=1", "--crop", "1=3")
    assert set(made) == {((30, 50), (0.25, 0.75))}


def _words(text: str) -> list[Any]:
    """Of an alignment: each letter where its tone is."""
    words, start = [], 12
    for word in text.split():
        words.append([word, start, -20, [[letter, 12] for letter in word]])
        start += 12 * (len(word) + 1)
    return words


def test_recordings_that_can_not_be_written_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = tmp_path / "short.jsonl"
    rows = [{"audio": f"{n}.wav", "text": text} for n, text in enumerate(("abba cab bad dab" * 9, "abba"))]
    for row, seconds in zip(rows, (0.3, 2.0), strict=True):
        soundfile.write(tmp_path / row["audio"], np.zeros(round(seconds * 16000), np.int16), 16000)
    short.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["ctc", str(short), "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), *QUICK, *SMALL]
    tones.train_a_little(given)
    wanted = "1 recordings left out of whole utterances: too many symbols for their time, or none"
    assert wanted in capsys.readouterr().err


@pytest.mark.parametrize(
    "args",
    [
        ["--minutes", "0"],
        ["--mix", "2"],
        ["--weight", "kathleen"],
        ["--nonsense"],
        ["--seed", "-1"],
        ["--augment", "-1"],
        ["--delay", "51"],
        ["--crop", "4"],
        ["--crop", "61=1"],
        ["--crop", "0=1"],
        ["--crop", "4=0"],
    ],
)
def test_wrong_usage(command: Callable[..., str], capsys: pytest.CaptureFixture[str], args: list[str]) -> None:
    assert "error: " in failure(command, capsys, *SMALL, *args, status=2)
    if args == ["--nonsense"]:
        with pytest.raises(SystemExit):
            command(*SMALL, *args)
        assert "usage: python -m earshot_asr.engine.training ctc " in capsys.readouterr().err


@pytest.mark.parametrize("vocabulary", ["characters", "phonemes", "symbols.txt"])
def test_units_and_vocabulary_may_not_contradict_each_other(
    vocabulary: str, command: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "symbols.txt").write_text("A\nB\nC\nD\n")
    given = str(tmp_path / vocabulary) if vocabulary == "symbols.txt" else vocabulary
    units, others = ("letters", "phonemes") if vocabulary == "phonemes" else ("phonemes", "letters")
    line = failure(command, capsys, *SMALL, "--vocabulary", given, "--units", units)
    assert line == f"earshot: --units {units} and --vocabulary {given}, which is of {others}, contradict each other"
    if vocabulary != "phonemes":  # for which there has to be eSpeak NG
        command(*SMALL, "--vocabulary", given, "--units", others)


def test_symbols_that_the_vocabulary_lacks(
    command: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "symbols.txt").write_text("A\nB\n")
    line = failure(command, capsys, *SMALL, "--vocabulary", tmp_path / "symbols.txt")
    assert "lacks 2 symbols of the texts, which occur 9 times: " in line
    assert '"C" (' in line
    assert "dropped: " in command(
        *SMALL, "--vocabulary", tmp_path / "symbols.txt", "--unknown", "drop", "--out", tmp_path / "o"
    )


def test_a_run_goes_on_that_was_begun_with_options_that_are_no_more(
    command: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """If they had their defaults."""
    command(*SMALL)
    file = tmp_path / "out" / "run.json"
    begun = json.loads(file.read_text())
    assert not begun.keys() & RETIRED.keys()
    file.write_text(json.dumps(begun | RETIRED))
    assert "goes on from step 3" in command(*SMALL, "--steps", "4")
    file.write_text(json.dumps(begun | RETIRED | {"text": ["sentences.txt"]}))
    line = failure(command, capsys, *SMALL, "--steps", "5")
    assert line.endswith("holds a run with options that no longer exist: text; give another --out")


def test_a_damaged_state_is_said(
    command: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command(*SMALL)
    (tmp_path / "out" / "state.pt").write_bytes(b"PK nonsense")
    assert "state.pt is damaged" in failure(command, capsys, *SMALL)
    torch.save({"model": {}}, tmp_path / "out" / "state.pt")
    assert "is no state of a run: it lacks average" in failure(command, capsys, *SMALL)


def test_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "earshot_asr.engine.training", "ctc", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--stop-after" in done.stdout
    assert "goes on where it was" in done.stdout
