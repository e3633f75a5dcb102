"""Which words are names, and what counts as found."""

from earshot_asr.engine.lm import Lexicon, bundled_lm
from earshot_asr.engine.model import BUNDLED_WEIGHTS
from tests.benchmarks.hotwords import Found, drawn, unknown

TEXTS = (
    "Zirid met Lady Tafoya. Proastiakos, the mayor of Teaneck, saw the deprotection in London.",
    "PROKSCH AND KARNA",
)


def test_names_have_a_capital_within_a_sentence_and_are_not_in_the_language_model() -> None:
    lexicon = Lexicon(bundled_lm(), BUNDLED_WEIGHTS)
    assert unknown(TEXTS, lexicon) == ["TAFOYA", "TEANECK"]
    every = unknown(TEXTS, lexicon, names=False)
    assert {"DEPROTECTION", "PROKSCH", "TAFOYA"} <= set(every) and "LONDON" not in every


def test_the_same_words_are_drawn_again() -> None:
    words = [f"W{n}" for n in range(50)]
    assert drawn(words, 20, 0) == drawn(words, 20, 0) != drawn(words, 20, 1)
    assert len(set(drawn(words, 20, 0))) == 20


def test_a_name_that_is_not_said_is_a_false_one() -> None:
    found = Found()
    found.add(["TAFOYA", "FAREY"], ["SHE", "IS", "TAFOYA", "TAFOYA"], ["SHE", "IS", "FAREY", "TAFOYA"])
    found.add(["TAFOYA", "FAREY"], ["NO"], ["TAFOYA", "TAFOYA"])
    assert found == Found(said=2, heard=1, false=3)
