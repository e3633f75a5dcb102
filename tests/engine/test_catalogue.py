"""The catalogue is well-formed, and a name or a language means the checkpoint that it should."""

import re
from collections import Counter
from datetime import date
from importlib import import_module
from pathlib import Path

import pytest

from earshot_asr.engine.catalogue import (
    OPERATIONS,
    USES,
    Choice,
    Entry,
    Known,
    Published,
    choose,
    entries,
    find,
    for_language,
    most_spoken,
    near,
)
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.languages import code
from earshot_asr.engine.loading import HUB_ID

ROOT = Path(__file__).parents[2]
MOST_SPOKEN = ["en", "zh", "hi", "es", "ar", "fr", "bn", "pt", "ru", "id", "ur", "de", "ja", "pcm", "arz", "mr"]
MOST_SPOKEN += ["vi", "te", "ha", "tr"]
MMS, GERMAN = "facebook/mms-1b-all", "jonatasgrosman/wav2vec2-large-xlsr-53-german"


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
class TestEntry:
    def test_its_name_its_id_and_what_it_is(self, entry: Entry) -> None:
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]{2,19}", entry.name)
        assert HUB_ID.fullmatch(entry.id) or (entry.use == "bundled" and entry.id == "")
        assert entry.use in USES
        assert entry.shape in {*OPERATIONS, ""}
        assert re.fullmatch(r"[a-z0-9_-]+", entry.family)

    def test_its_languages_are_codes_that_are_known(self, entry: Entry) -> None:
        assert [code(each) for each in entry.languages] == list(entry.languages)
        assert entry.languages or entry.use in ("phonemes", "any")
        assert (entry.use == "any") == (entry.count is not None)
        assert (entry.listed is not None) == bool(entry.count and entry.languages)

    def test_each_value_has_a_page_and_a_day(self, entry: Entry) -> None:
        values = [entry.licence, entry.parameters, entry.bytes, entry.count, entry.listed]
        known: list[Known | Published] = [*(value for value in values if value), *entry.errors]
        for each in known:
            assert re.fullmatch(r"https://\S+", each.page) or (entry.use == "bundled" and (ROOT / each.page).is_file())
            assert type(each.read) is date and date(2026, 11, 29) <= each.read <= date.today()
            assert each.value

    def test_its_values_make_sense(self, entry: Entry) -> None:
        for known, low, high in (
            (entry.parameters, 10**7, 10**10),
            (entry.bytes, 10**7, 10**11),
            (entry.count, 2, 7000),
        ):
            assert known is None or (type(known.value) is int and low < known.value < high)
        for error in entry.errors:
            assert error.measure in ("WER", "CER") and 0 < error.value < 100 and error.on
        assert entry.licence is None or type(entry.licence.value) is str


def test_names_and_ids_are_unique() -> None:
    assert len(entries()) >= 25
    spelled = Counter(each for entry in entries() for each in (entry.name, entry.id.lower()) if each)
    assert max(spelled.values()) == 1
    assert [entry.name for entry in entries() if entry.use == "bundled"] == ["base-en"]


def test_the_most_spoken_languages_have_a_recommended_checkpoint() -> None:
    assert len(most_spoken()) == 20
    assert {code(each) for each in MOST_SPOKEN} - {"zho"} == {*most_spoken()} - {"cmn"}
    for language in (*MOST_SPOKEN, *most_spoken()):
        first = for_language(language)[0]
        assert first.use == "recommended" or (first.use == "any" and code(language) in first.languages)
    for language in most_spoken():
        assert len([each for each in entries() if language in each.languages and each.use == "recommended"]) <= 1


def test_the_bundled_model_has_its_size() -> None:
    entry = find("base-en")
    assert entry and isinstance(entry.bytes, Known) and isinstance(entry.parameters, Known)
    weights = ROOT / "engine/models/base-en/model.safetensors"
    assert weights.stat().st_size == pytest.approx(int(entry.bytes.value), rel=0.01)


@pytest.mark.parametrize("language", ["de", "deu", "German", "de-AT", "german", " de "])
def test_a_language_alone_is_its_recommended_checkpoint(language: str) -> None:
    assert choose(None, language) == Choice(GERMAN, None, "deu")


def test_a_model_by_name_id_or_folder(tmp_path: Path) -> None:
    assert choose(None) == Choice()
    assert choose(None, None, "v2") == Choice(revision="v2")
    for name in ("xlsr-53-german", "XLSR-53-German", GERMAN):
        assert choose(name) == Choice(GERMAN, None, "deu")
        assert choose(name, "German", "v2") == Choice(GERMAN, "v2", "deu")
    assert choose("someone/model", "de", "v2") == Choice("someone/model", "v2", "de")
    assert choose(tmp_path, "de") == Choice(str(tmp_path), None, "de")
    assert choose("base-en") == Choice(language="eng")


def test_a_folder_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base-960h").mkdir()
    monkeypatch.chdir(tmp_path)
    assert choose("base-960h") == Choice("base-960h")


def test_languages_of_a_model_of_many_are_left_to_it() -> None:
    assert choose("mms-1b-all", "fra") == choose(MMS, "fra") == Choice(MMS, None, "fra")
    assert choose("mms-1b-all") == Choice(MMS)
    assert choose(None, "ms") == Choice(MMS, None, "ms")
    assert choose(None, "Hausa") == Choice(MMS, None, "Hausa")
    assert choose(None, "zulu") == Choice(MMS, None, "zulu")  # in no entry by name
    assert choose("omniasr-300m", "zulu").language == "zulu"


def test_the_bundled_model_stands_in_where_english_was_meant_and_no_model() -> None:
    assert choose(None, "en").bundled_will_do and choose(None, "English").bundled_will_do
    for other in (
        choose(None, "de"),
        choose("large-960h", "en"),
        choose("large-960h"),
        choose(None),
        choose("a/b", "en"),
    ):
        assert not other.bundled_will_do


@pytest.mark.parametrize(
    ("model", "language", "complaint"),
    [
        ("xlsr-53-german", "fr", "xlsr-53-german has no language 'fr'; it has deu (German)"),
        (None, "germn", "the catalogue has no language 'germn'; near are deu (German)"),
        (None, "xx", "the catalogue has no language 'xx'; it has ara (Arabic), "),
        (None, "", "the catalogue has no language ''"),
    ],
)
def test_what_is_not_there_is_said(model: str | None, language: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as said:
        choose(model, language)
    assert str(said.value).startswith(complaint)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("large-960", "large-960h"),
        ("facebok/wav2vec2-base-960h", "facebook/wav2vec2-base-960h"),
        ("wav2vec2-large-xlsr-53-germn", GERMAN),
        ("german", "xlsr-53-german"),
        ("mms", "mms-1b-all"),
    ],
)
def test_near_names(name: str, nearest: str) -> None:
    assert near(name)[0] == nearest
    assert len(near(name)) <= 3


def test_nothing_is_near_nothing() -> None:
    assert near("zzzzzz") == near("") == []


@pytest.mark.parametrize(
    ("shape", "layers", "width", "inner"), [("base", 12, 768, 3072), ("large", 24, 1024, 4096), ("1b", 48, 1280, 5120)]
)
def test_operations_are_those_that_torch_counts(shape: str, layers: int, width: int, inner: int) -> None:
    torch = pytest.importorskip("torch")
    counter = import_module("torch.utils.flop_counter").FlopCounterMode(display=False)
    large = shape != "base"
    config = {
        "model_type": "wav2vec2",
        "architectures": ["Wav2Vec2ForCTC"],
        "vocab_size": 32,
        "pad_token_id": 0,
        "hidden_act": "gelu",
        "feat_extract_activation": "gelu",
        "layer_norm_eps": 1e-5,
        "num_hidden_layers": layers,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_attention_heads": 16 if large else 12,
        "num_conv_pos_embeddings": 128,
        "num_conv_pos_embedding_groups": 16,
        "conv_dim": [512] * 7,
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
        "conv_stride": [5, 2, 2, 2, 2, 2, 2],
        "conv_bias": large,
        "feat_extract_norm": "layer" if large else "group",
        "do_stable_layer_norm": large,
    }
    from earshot_asr.engine.checkpoint import build_encoder

    encoder = build_encoder(config, {"do_normalize": True, "return_attention_mask": large})
    with counter, torch.inference_mode():
        encoder(torch.zeros(1, 4 * 16_000, device="meta"), None)
    assert counter.get_total_flops() / 2 / 4 == pytest.approx(OPERATIONS[shape], rel=0.02)


def test_operations_of_the_bundled_model() -> None:
    torch = pytest.importorskip("torch")
    counter = import_module("torch.utils.flop_counter").FlopCounterMode(display=False)
    from earshot_asr.engine.checkpoint import load_checkpoint
    from earshot_asr.engine.model import BUNDLED

    encoder = load_checkpoint(BUNDLED).encoder
    with counter, torch.inference_mode():
        encoder(torch.zeros(1, 4 * 16_000), None)
    assert counter.get_total_flops() / 2 / 4 == pytest.approx(OPERATIONS["bundled"], rel=0.02)
