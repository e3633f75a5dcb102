"""Models of several languages: each is what transformers makes of it, alone and in company, and never another one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2ForCTC

from earshot_asr.engine import adapters
from earshot_asr.engine.adapters import languages
from earshot_asr.engine.audio import LogProbs, Pcm
from earshot_asr.engine.checkpoint import load_checkpoint
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.errors import CheckpointError, ConfigError
from earshot_asr.engine.events import Event
from earshot_asr.engine.hub import Origin
from earshot_asr.engine.model import ModelInfo
from earshot_asr.engine.recognizer import Recognizer
from earshot_asr.engine.runner import TorchRunner, load_runner
from earshot_asr.engine.transcription import transcribe
from tests import mms
from tests.engine.families.test_wav2vec2 import difference
from tests.helpers import finals, partials, transcript

SPEECH = mms.speech()
FEW = ("deu", "eng", "fra")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of ten languages, the weights of one of them pickled."""
    folder = mms.make(tmp_path_factory.mktemp("mms") / "mms-small")
    torch.save(load_file(folder / "adapter.spa.safetensors"), folder / "adapter.spa.bin")
    (folder / "adapter.spa.safetensors").unlink()
    return folder


@pytest.fixture(scope="module")
def runner(model: Path) -> TorchRunner:
    return load_runner(model, "cpu")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a few languages."""
    return mms.make(tmp_path_factory.mktemp("mms") / "few", FEW)


@pytest.fixture
def folder(few: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return Path(shutil.copytree(few, tmp_path / "few"))


def edit(path: Path, **entries: object) -> None:
    mms.write(path, {**json.loads(path.read_text(encoding="utf-8")), **entries})


@torch.inference_mode()
def theirs(folder: Path, language: str | None, pcm: Pcm = SPEECH) -> tuple[Tensor, str]:
    """Log-probabilities and text by transformers; None: as it loads the checkpoint."""
    model = Wav2Vec2ForCTC.from_pretrained(folder).eval()
    tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(folder)
    if language is not None:
        model.load_adapter(language)
        tokenizer.set_target_lang(language)
    values = mms.EXTRACTOR(pcm / np.float32(32768), sampling_rate=16000, return_tensors="pt").input_values
    log_probs = torch.log_softmax(model(values).logits[0], dim=-1)
    return log_probs, tokenizer.decode(log_probs.argmax(-1))


def check(runner: TorchRunner, expected: tuple[Tensor, str]) -> LogProbs:
    (ours,) = runner.run([SPEECH])
    assert difference(torch.from_numpy(ours), expected[0]) < 1e-4
    assert runner.info.vocabulary.text(ours.argmax(-1).tolist()) == expected[1]
    assert runner.info.vocabulary.size == ours.shape[1]
    return ours


@pytest.mark.parametrize("language", [None, *mms.TEN])
def test_each_language_is_what_transformers_makes_of_it(model: Path, runner: TorchRunner, language: str | None) -> None:
    check(runner.speaking(language), theirs(model, language))


def test_their_texts_differ_and_vary(runner: TorchRunner) -> None:
    """Else the other tests would say little."""
    texts = {transcript(_said(runner, each, SPEECH[:96_000])) for each in runner.info.languages}
    assert len(texts) == 10
    assert min(len(set(text)) for text in texts) > 8


def test_windows_of_any_company_are_what_they_are_alone(runner: TorchRunner) -> None:
    """Padded equals alone, and no language leaves anything behind for the next."""
    windows = [SPEECH[first : first + samples] for first, samples in ((0, 16_000), (9_000, 40_123), (80_000, 5_000))]
    alone = {each: [runner.speaking(each).run([pcm])[0] for pcm in windows] for each in ("fra", "eng", "cmn")}
    for language in ("cmn", "fra", "cmn", "eng"):
        together = runner.speaking(language).run(windows)
        for one, other in zip(together, alone[language], strict=True):
            assert one.shape == other.shape
            assert np.abs(np.exp(one) - np.exp(other)).max() < 1e-5


def test_a_language_may_be_loaded_while_another_one_is_computed(few: Path) -> None:
    """A thread that loads it sees nothing of the weights that take the place of the encoder's meanwhile."""
    idle = load_runner(few, "cpu", language="fra")
    expected = [idle.speaking(language).info for language in FEW]
    runner, infos = load_runner(few, "cpu", language="fra"), list[ModelInfo]()
    hook = runner._encoder.register_forward_pre_hook(
        lambda *_: infos.extend(runner.speaking(language).info for language in FEW)
    )
    runner.run([SPEECH[:16_000]])
    hook.remove()
    assert infos == expected


def _said(runner: TorchRunner, language: str, pcm: Pcm) -> list[Event]:
    recognizer = Recognizer(runner, clock=lambda: 0.0)
    stream = recognizer.open(StreamConfig(language=language))
    stream.feed(pcm)
    stream.finish()
    while recognizer.step():
        pass
    return stream.events()


def test_streams_of_several_languages_in_one_recognizer_say_what_each_says_alone(
    model: Path, runner: TorchRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more languages than stay on the device."""
    monkeypatch.setattr(adapters, "MOST_KEPT", 2)
    spoken, pcm = mms.TEN[:5] * 2, SPEECH[:64_000]
    shared = load_runner(model, "cpu")
    recognizer = Recognizer(shared, clock=lambda: 0.0)
    streams = [recognizer.open(StreamConfig(language=each)) for each in spoken]
    sizes = set()
    for chunk in np.array_split(pcm, 3):
        for stream in streams:
            stream.feed(chunk)
        while (batch := recognizer.take()) is not None:
            assert len({job.language for job in batch.jobs}) == 1
            sizes.add(len(batch.jobs))
            recognizer.accept(batch, batch.run(shared))
            assert len(shared._adapters) <= 2
    for stream in streams:
        stream.finish()
    while recognizer.step():
        pass
    assert max(sizes) > 1
    for stream, language in zip(streams, spoken, strict=True):
        events, alone = stream.events(), _said(runner, language, pcm)
        assert transcript(events) == transcript(alone) != ""
        assert [event.text for event in partials(events)] == [event.text for event in partials(alone)]
        for ours, other in zip(finals(events), finals(alone), strict=True):
            assert ours.confidence == pytest.approx(other.confidence, abs=1e-5)


# ---- which languages there are


def test_a_language_has_many_names_and_is_never_another(runner: TorchRunner) -> None:
    for asked, language in (
        ("fr", "fra"),
        ("French", "fra"),
        ("fr-CA", "fra"),
        ("uz", "uzb-script_latin"),
        ("zh", "cmn"),
    ):
        assert runner.speaking(asked).info.language == language
    assert runner.speaking("fr") is runner.speaking("fra").speaking("French")
    assert runner.speaking("fra").speaking("eng") is runner
    for asked, near in (("frx", r"'frx'; near are fra \(French\)"), ("tlh", "'tlh'; "), ("", "''; ")):
        with pytest.raises(ConfigError, match=f"mms-small has no language {near}"):
            runner.speaking(asked)


def test_a_language_may_be_the_one_to_begin_with(model: Path, runner: TorchRunner) -> None:
    french = load_runner(model, "cpu", language="French")
    assert french.info == runner.speaking("fra").info
    assert french.speaking(None) is french
    assert french.speaking("eng").info == runner.info
    check(french.speaking("eng"), theirs(model, None))
    check(french, theirs(model, "fra"))
    with pytest.raises(ConfigError, match="no language 'Klingon'"):
        load_runner(model, "cpu", language="Klingon")
    said = [[final.text for final in transcribe(mms.RECORDING, model=each, language="fr")] for each in (runner, french)]
    assert said[0] == said[1] == [final.text for final in transcribe(mms.RECORDING, model=french)]


def test_a_language_that_is_not_there_is_refused_before_the_weights_are_read(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"not read")
    with pytest.raises(ConfigError, match="few has no language 'spa'"):
        load_checkpoint(folder, language="spa")


def test_in_a_folder_those_languages_are_there_whose_files_are(folder: Path) -> None:
    (folder / "adapter.deu.safetensors").unlink()
    assert load_checkpoint(folder).languages == ("eng", "fra")
    (folder / "adapter.eng.safetensors").unlink()
    assert load_checkpoint(folder).languages == ("eng", "fra")  # its own weights are in the model's file
    online = Origin("acme/few", folder, hub_id="acme/few")
    assert languages(online, "eng", adapted=True) == FEW  # the others are downloaded when they are asked for


def test_names_that_lead_elsewhere_are_no_languages(folder: Path) -> None:
    tables = json.loads((folder / "vocab.json").read_text())
    for name in ("../few/adapter", "*", "a/b", "", "x" * 200):
        edit(folder / "vocab.json", **{name: tables["fra"]})
    assert load_checkpoint(folder).languages == FEW
    assert languages(Origin("few", folder, hub_id="acme/few"), "eng", adapted=True) == FEW


def test_fingerprints_are_of_the_language_too(folder: Path) -> None:
    def fingerprints() -> dict[str, str]:
        runner = load_runner(folder, "cpu")
        return {each: runner.speaking(each).info.fingerprint for each in FEW}

    before = fingerprints()
    assert len(set(before.values())) == 3
    assert all(len(each) == 16 for each in before.values())
    assert before["eng"] == load_checkpoint(folder).fingerprint
    changed = load_file(folder / "adapter.fra.safetensors")
    changed["lm_head.bias"][3] += 1
    save_file(changed, folder / "adapter.fra.safetensors")
    after = fingerprints()
    assert {each for each in FEW if after[each] != before[each]} == {"fra"}
    (folder / "adapter.eng.safetensors").unlink()  # it said the same as the model's own weights
    assert fingerprints() == after


def test_a_checkpoint_whose_weights_are_of_another_language_than_it_says(folder: Path) -> None:
    """transformers makes English of French here, in French letters."""
    edit(folder / "tokenizer_config.json", target_lang="fra")
    runner = load_runner(folder, "cpu")
    assert runner.info.language == "fra"
    check(runner, theirs(folder, "fra"))
    check(runner.speaking("eng"), theirs(folder, "eng"))


# ---- fine-tuned


def finetuned(folder: Path, tokenizer: dict[str, object], *, flat: bool) -> Path:
    """A model whose own adapter was trained: one language, no file beside it."""
    for path in folder.glob("adapter.*"):
        path.unlink()
    tables = json.loads((folder / "vocab.json").read_text())
    mms.write(folder / "vocab.json", tables["eng"] if flat else {"tur": tables["eng"]})
    mms.write(folder / "tokenizer_config.json", {**mms.TOKENIZER, **tokenizer})
    return folder


@pytest.mark.parametrize("flat", [True, False], ids=["flat", "nested"])
@pytest.mark.parametrize("said", [{"target_lang": "tur"}, {}], ids=["target_lang", "nothing said"])
def test_a_fine_tuned_model_has_its_own_language(folder: Path, flat: bool, said: dict[str, object]) -> None:
    expected = theirs(folder, "eng")
    runner = load_runner(finetuned(folder, said, flat=flat), "cpu")
    check(runner, expected)
    if said or not flat:
        assert (runner.info.language, runner.info.languages) == ("tur", ("tur",))
        assert runner.speaking("Turkish") is runner
        with pytest.raises(ConfigError, match=r"no language 'deu'; it has tur \(Turkish\)"):
            runner.speaking("deu")
    else:
        assert (runner.info.language, runner.info.languages) == (None, ())
        with pytest.raises(ConfigError, match="does not say which language it speaks"):
            runner.speaking("tur")
        assert load_runner(folder, "cpu", language="../Turkish (Old)").info.language == "../Turkish (Old)"
        taken = load_runner(folder, "cpu", language="tr")  # at one's word
        assert taken.speaking("Turkish") is taken
        assert taken.info.fingerprint == runner.info.fingerprint
        with pytest.raises(ConfigError, match="no language 'de'"):
            taken.speaking("de")


def test_several_vocabularies_and_nothing_said_of_which_is_its_own(folder: Path) -> None:
    mms.write(folder / "tokenizer_config.json", mms.TOKENIZER)
    with pytest.raises(CheckpointError, match=r"target_lang in tokenizer_config.json must name one"):
        load_checkpoint(folder)
    edit(folder / "tokenizer_config.json", target_lang=["eng"])
    with pytest.raises(CheckpointError, match=r"target_lang is \['eng'\]; it must be the name of a language"):
        load_checkpoint(folder)


# ---- files that are broken


def damaged(path: Path, tensors: dict[str, Tensor]) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def without(name: str) -> Callable[[Path, dict[str, Tensor]], None]:
    return lambda path, tensors: save_file({each: t for each, t in tensors.items() if each != name}, path)


def besides(**more: Tensor) -> Callable[[Path, dict[str, Tensor]], None]:
    return lambda path, tensors: save_file(
        {**tensors, **{name.replace("__", "."): t for name, t in more.items()}}, path
    )


LINEAR = "wav2vec2.encoder.layers.1.adapter_layer.linear_1.weight"


@pytest.mark.parametrize(
    ("ruin", "words"),
    [
        (damaged, "adapter.fra.safetensors is damaged or no file of weights"),
        (without(LINEAR), f"adapter.fra.safetensors does not fit the model. Tensors missing: {LINEAR}"),
        (without("lm_head.bias"), "Tensors missing: lm_head.bias"),
        (besides(lm_head__gain=torch.ones(1)), "Tensors unexpected: lm_head.gain"),
        (besides(lm_head__bias=torch.ones(3)), r"Tensors of another shape: lm_head.weight \(16, 32\)"),
        (besides(lm_head__bias=torch.ones(())), r"Tensors of another shape: lm_head.weight"),
        (
            besides(wav2vec2__encoder__layers__0__adapter_layer__norm__bias=torch.ones(31)),
            r"Tensors of another shape: encoder.layers.0.adapter_layer.norm.bias \(31,\)",
        ),
    ],
    ids=["cut off", "a layer short", "no head", "more than that", "half a head", "a head of no size", "another size"],
)
def test_broken_weights_are_named_and_other_languages_go_on(
    folder: Path, ruin: Callable[[Path, dict[str, Tensor]], None], words: str
) -> None:
    path = folder / "adapter.fra.safetensors"
    ruin(path, load_file(path))
    runner = load_runner(folder, "cpu")
    with pytest.raises(CheckpointError, match=words):
        runner.speaking("fra")
    check(runner.speaking("deu"), theirs(folder, "deu"))


def test_a_file_that_is_replaced_meanwhile_is_not_taken_for_what_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "MOST_KEPT", 1)
    runner = load_runner(folder, "cpu")
    french, german = runner.speaking("fra"), runner.speaking("deu")
    french.run([SPEECH])
    german.run([SPEECH])
    shutil.copy(folder / "adapter.deu.safetensors", folder / "adapter.fra.safetensors")
    with pytest.raises(CheckpointError, match=r"adapter.fra.safetensors has changed since it was read first"):
        french.run([SPEECH])


@pytest.mark.parametrize("bytes_left", [None, 3000], ids=["overwritten", "cut off"])
def test_weights_stay_what_they_were_though_their_file_is_written_to(folder: Path, bytes_left: int | None) -> None:
    """A page of a mapped file would change with it, or end the process where it is no longer there."""
    expected, path = theirs(folder, "fra"), folder / "adapter.fra.safetensors"
    french = load_runner(folder, "cpu").speaking("fra")
    check(french, expected)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size) if bytes_left is None else b"")
        file.truncate(bytes_left)
    check(french, expected)


def test_a_language_of_the_hub_that_is_not_in_the_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """vocab.json names it, and no file is there for it: offline, or because there is none."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder.parent))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repo = folder.parent / "models--acme--few"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("a" * 40)
    snapshot = repo / "snapshots" / ("a" * 40)
    shutil.copytree(folder, snapshot)
    for language in ("deu", "eng"):
        (snapshot / f"adapter.{language}.safetensors").unlink()
    runner = load_runner("acme/few", "cpu")
    check(runner, theirs(folder, "eng"))  # it has the weights for its own in the model's file
    assert runner.info.languages == FEW
    check(runner.speaking("fr"), theirs(folder, "fra"))
    with pytest.raises(CheckpointError, match=r"acme/few.*adapter.deu.safetensors"):
        runner.speaking("de")


def test_half_precision_of_the_model_is_that_of_its_languages(folder: Path) -> None:
    half = TorchRunner(load_checkpoint(folder, language="fra", dtype=torch.bfloat16), torch.device("cpu"))
    (expected,), (ours,) = load_runner(folder, "cpu", language="fra").run([SPEECH]), half.run([SPEECH])
    assert ours.shape == expected.shape
    adapter = half._checkpoint.adapter
    assert adapter
    assert {weight.dtype for weight in half._adapters.weights(adapter).values()} == {torch.bfloat16}
