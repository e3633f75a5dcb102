"""Text as people write it, of models that know one case only."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.casing import Casing
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.text import normalize
from tests.helpers import finals, run_session, silence, speak

NAMES = ("Ada Lovelace", "iPhone", "NATO", "Earshot")


@pytest.mark.parametrize(
    ("language", "text", "written"),
    [
        ("en", "SO I SAID I'M HERE", "So I said I'm here"),
        ("eng", "so i'll go", "So I'll go"),
        ("English", "'TIS AN I-BEAM IN VI", "'Tis an i-beam in vi"),
        ("en", 'IS IT? YES. "I AM" HE SAID.', 'Is it? Yes. "I am" he said.'),
        ("en", "AT 3.5 PERCENT", "At 3.5 percent"),
        ("en", "IPHONE AND ADA LOVELACE'S NATO", "iPhone and Ada Lovelace's NATO"),
        ("en", "earshot hears adalovelace and ada", "Earshot hears adalovelace and ada"),
        (None, "I CAME", "I came"),
        ("it", "TUTTI I RAGAZZI", "Tutti i ragazzi"),
        ("de", "ÜBER DIE STRAßE", "Über die straße"),
        ("tr", "IŞIK İYİ", "Işık iyi"),
        ("tr", "İYİ", "İyi"),
        ("el", "ΟΔΟΣ ΚΑΙ", "Οδος και"),
        ("zh", "你好", "你好"),
        ("ar", "مرحبا", "مرحبا"),
        ("en", "The Model Knows BETTER", "The Model Knows BETTER"),
        ("en", "", ""),
        ("en", "I", "I"),
    ],
)
def test_text(language: str | None, text: str, written: str) -> None:
    assert Casing(language, NAMES).text(text) == written


@given(st.sampled_from(["en", "tr", "de", None]), st.text("abcİIıßéÉ'. 你ΣАя-", max_size=40), st.booleans())
def test_nothing_but_the_case_is_changed(language: str | None, text: str, upper: bool) -> None:
    text = text.upper() if upper else text.lower()
    casing = Casing(language, NAMES)
    written = casing.text(text)
    assert len(written) == len(text)
    if "I" not in text.upper() and "İ" not in text:  # Turkish has two letters where others have one
        assert normalize(written) == normalize(text)
    words = text.split()
    assert casing.words(text, words) == written.split()


def test_an_utterance_and_its_words() -> None:
    pcm = [silence(0.3), speak("SO I SAID ADA LOVELACE"), silence(1)]
    (final,) = finals(run_session(np.concatenate(pcm), StreamConfig.preset("balanced", partials=False)))
    cased = Casing("en", NAMES).final(final)
    assert cased.text == "So I said Ada Lovelace"
    assert [word.text for word in cased.words] == ["So", "I", "said", "Ada", "Lovelace"]
    assert [(word.start, word.end, word.confidence) for word in cased.words] == [
        (word.start, word.end, word.confidence) for word in final.words
    ]
    assert (cased.start, cased.cut) == (final.start, final.cut)
