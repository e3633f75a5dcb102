"""Text -> phonemes as phonemizer has them, with whatever eSpeak NG is there."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from earshot_asr.engine import phonemes as module
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.phonemes import STRESS, phonemes, targets, version, voice
from earshot_asr.engine.training.data import units
from earshot_asr.engine.training.data.spelling import Alphabet

LANGUAGES = ("en", "de", "fr", "es", "ru", "sv-SE", "it")
TEXTS = ("Hello, world!", "one two three", "Paris - 1.5 km", "Google", "«Taxi», (radio)…")


def flat(text: str, language: str) -> str:
    return " ".join(phone for word in phonemes(text, language) for phone in word)


@pytest.fixture
def nothing_loaded() -> Iterator[None]:
    def forget() -> None:
        module._espeak.cache_clear()
        voice.cache_clear()

    forget()
    yield
    forget()


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    if "nothing_loaded" not in request.fixturenames:
        try:
            version()
        except ConfigError as e:
            pytest.skip(str(e))


@pytest.mark.parametrize(
    ("text", "language", "expected"),  # by phonemizer 3.4 with language_switch="remove-flags"
    [
        ("Hello, world!", "en", "h ə l oʊ w ɜː l d"),
        ("It's twelve.", "en-US", "ɪ t s t w ɛ l v"),
        ("1.5 miles, 2", "en", "w ʌ n p ɔɪ n t f aɪ v m aɪ l z t uː"),
        ("Guten Tag", "de", "ɡ uː t ə n t ɑː k"),
        ("bonjour", "fr", "b ɔ̃ ʒ u ʁ"),
        ("привет", "ru", "p rʲ i vʲ e t"),
        ("ett två tre", "sv-SE", "ɛ t t v oː t r eː"),
    ],
)
def test_as_the_tokenizer_of_transformers_would_have_it(text: str, language: str, expected: str) -> None:
    assert flat(text, language) == expected


def test_words_stay_apart() -> None:
    assert phonemes("hello, you", "en") == [["h", "ə", "l", "oʊ"], ["j", "uː"]]
    assert phonemes("", "en") == phonemes("?! ...", "en") == []


def test_neither_stress_nor_switches_of_language_nor_marks_are_phonemes() -> None:
    for language in LANGUAGES:
        for text in TEXTS:
            for word in phonemes(text, language):
                assert word
                for phone in word:
                    assert phone.strip() == phone != ""
                    assert not STRESS.search(phone) and not set("()_.,!«»…") & set(phone)
    assert flat("google", "ru")  # said as in English


def test_case_and_punctuation_make_no_difference() -> None:
    assert phonemes("“Well”, said SHE; (now) go!", "en") == phonemes("well said she now go", "en")
    assert flat("the, apple", "en") == "ð ɪ æ p əl"  # as without the comma: phonemizer takes it away
    assert phonemes("ALL OF US (or not).", "en") == phonemes("all of us or not", "en")  # no "U. S.", no "dot"


def test_regions() -> None:
    assert voice("en") == voice("en-US") == voice("en_us") == voice("en-AU") != voice("en-GB")
    assert voice("ga-IE") == voice("ga")
    assert voice("fr") == voice("fr-FR")
    assert flat("dance", "en-GB") != flat("dance", "en-US")


@pytest.mark.parametrize("language", ["rm-sursilv", "", "xx", "english"])
def test_a_language_without_a_voice_is_said(language: str) -> None:
    with pytest.raises(ConfigError, match=rf"no voice for language '{language}'; .*`espeak-ng --voices` lists") as e:
        phonemes("x", language)
    assert len(str(e.value)) < 200


def test_a_language_that_is_nearly_one_is_guessed() -> None:
    with pytest.raises(ConfigError, match=r"'english'; near are .*\ben-"):
        voice("english")


@pytest.mark.parametrize("language", ["tr", "tr-TR", "TR_tr", "az"])
def test_turkish_has_two_i(language: str) -> None:
    capital, small = "IŞIK İYİ DİL", "ışık iyi dil"
    assert phonemes(capital, language) == phonemes(small, language) != phonemes("işik iyi dil", language)
    assert phonemes("I\u0307yi", language) == phonemes("iyi", language)
    assert phonemes("I", "en") == phonemes("i", "en")


def test_a_script_that_is_read_out_in_english_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"can't read 'ja': .* field `phonemes`"):
        phonemes("日本語", "ja")


def test_threads_do_not_hear_each_other() -> None:
    work = [(text, language) for text in TEXTS for language in LANGUAGES] * 3
    alone = [flat(*each) for each in work]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda each: flat(*each), work)) == alone


def test_a_vocabulary_writes_what_was_read() -> None:
    said = [flat(text, language) for text in TEXTS for language in LANGUAGES]
    vocabulary = units.phonemes(said)
    for sentence in said:
        ids = [id for one in Alphabet(vocabulary).ids(sentence) for id in (one, vocabulary.blank)]
        assert vocabulary.text(ids) == sentence


def test_targets_are_those_given_or_those_read_and_errors_name_the_line() -> None:
    assert targets("Hello", "en", " x  y ", "line 1") == "x y"
    assert targets("Hello", "en", None, "line 1") == "h ə l oʊ"
    assert targets(" ", None, None, "line 1") == ""
    with pytest.raises(ConfigError, match="line 1: there are neither phonemes nor lang"):
        targets("Hello", None, None, "line 1")
    with pytest.raises(ConfigError, match=r"line 1: espeak-ng .* has no voice for language 'xx'"):
        targets("Hello", "xx", None, "line 1")


@pytest.mark.usefixtures("nothing_loaded")
def test_without_espeak_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.setattr(module, "find_library", lambda name: None)
    with pytest.raises(ConfigError, match="pip install espeakng-loader"):
        phonemes("hello", "en")
    monkeypatch.setattr(module, "find_library", lambda name: f"/nowhere/lib{name}.so")
    with pytest.raises(ConfigError, match=r"libespeak-ng.so can't be loaded"):
        phonemes("hello", "en")
