"""Every format of n-gram models: the same scores, and those of KenLM."""

import gzip
import lzma
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from earshot_asr.engine.lm import LanguageModel, open_lm
from tests.engine.lm import kenlm_files
from tests.engine.lm.kenlm_files import Ngrams
from tests.engine.lm.oracle import KenLM

KINDS = {"probing": 0, "trie": 2, "quantized trie": 3, "packed trie": 4, "quantized and packed trie": 5}
WORDS = [f"w{n}" for n in range(40)]
UNKNOWN = "nowhere"


def made(order: int, seed: int = 0) -> Ngrams:
    """N-grams such as a text has, with random probabilities of few values."""
    draw = random.Random(seed)
    found: dict[tuple[str, ...], tuple[float, float]] = {
        ("<unk>",): (-2.5, 0.0),
        ("<s>",): (-99.0, -0.5),
        ("</s>",): (-1.5, 0.0),
    }
    found |= {(word,): (-draw.randint(1, 40) / 8, -draw.randint(0, 8) / 8) for word in WORDS}
    longest = set()
    for _ in range(150):
        text = ["<s>", *draw.choices(WORDS, k=draw.randint(1, 8)), "</s>"]
        longest |= {tuple(text[at : at + n]) for n in range(2, order + 1) for at in range(len(text) - n + 1)}
    begun = {each[:-1] for each in longest}
    for each in sorted(longest, key=lambda each: (len(each), each)):
        backoff = -draw.randint(0, 8) / 8 if each in begun and len(each) < order else 0.0
        found[each] = (-draw.randint(1, 40) / 8, backoff)
    return found


def sentences(seed: int = 1) -> list[list[str]]:
    draw = random.Random(seed)
    return [draw.choices([*WORDS, UNKNOWN], k=draw.randint(0, 12)) for _ in range(300)]


def scores(model: LanguageModel, words: Sequence[str]) -> list[float]:
    state, found = model.start(), []
    for word in words:
        state, score = model.score(state, word)
        found.append(score)
    return [*found, model.finish(state)]


@pytest.mark.parametrize("order", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_a_binary_file_scores_as_kenlm_does(tmp_path: Path, kind: int, order: int) -> None:
    path = tmp_path / "lm.bin"
    path.write_bytes(kenlm_files.binary(made(order), kind))
    model, kenlm = open_lm(path), KenLM(path, WORDS)
    assert model.order == order and set(model.unigrams()) == set(WORDS)
    for words in sentences():
        assert scores(model, words) == pytest.approx(kenlm.scores(words), abs=1e-5)


@pytest.mark.parametrize("order", [2, 3, 5])
def test_formats_score_alike(tmp_path: Path, order: int) -> None:
    """Also where KenLM is not installed."""
    arpa = tmp_path / "lm.arpa"
    arpa.write_text(kenlm_files.arpa(made(order)), encoding="utf-8")
    wanted = [scores(open_lm(arpa), words) for words in sentences()]
    for kind in KINDS.values():
        path = tmp_path / f"{kind}.bin"
        path.write_bytes(kenlm_files.binary(made(order), kind))
        model = open_lm(path)
        assert [scores(model, words) for words in sentences()] == wanted


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_arpa_scores_as_kenlm_does(tmp_path: Path, order: int) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(kenlm_files.arpa(made(order)), encoding="utf-8")
    model = open_lm(path)
    assert model.order == order and set(model.unigrams()) == set(WORDS)
    found = [scores(model, words) for words in sentences()]
    if order > 1:  # KenLM reads none of 1
        kenlm = KenLM(path, WORDS)
        for words, score in zip(sentences(), found, strict=True):
            assert score == pytest.approx(kenlm.scores(words), abs=1e-5)


def test_arpa_may_be_compressed_whatever_its_name(tmp_path: Path) -> None:
    text = kenlm_files.arpa(made(3)).encode()
    found = []
    for name, content in (("a.arpa", text), ("b.gz", gzip.compress(text)), ("c.bin", lzma.compress(text))):
        (tmp_path / name).write_bytes(content)
        model = open_lm(tmp_path / name)
        found.append([scores(model, words) for words in sentences()])
    assert found[0] == found[1] == found[2]


GAPS = r"""
\data\
ngram 1=7
ngram 2=5
ngram 3=3

\1-grams:
-99	<s>	-0.5
-1.5	</s>
-1.0	a	-0.25
-1.25	b	-0.125
-2	c
-2.5	d	-0.75
-1.75	é	-0.5

\2-grams:
-0.5	<s> a	-0.25
-0.75	a b
-0.25	b c	-0.5
-0.5	c d	-0.125
-0.5	d </s>

\3-grams:
-0.125	<s> a b
-0.25	a b c
-0.5	b d é

\end\
"""
"""Without <unk>; some have no backoff; `b d é` without `d é`, and without `b d`."""


def test_gaps_in_arpa_are_filled_by_shorter_ngrams(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(GAPS, encoding="utf-8")
    model = open_lm(path)
    words = ["a", "b", "d", "é", "nowhere", "a", "c", "d", "é"]
    a_b, b_d, d_e = -0.125, -0.0 - 0.125 - 2.5, -0.5
    after = [-100 - 0.5, -1.0, -0.25 - 2, -0.5, -0.125 - 0.75 - 1.75, -0.5 - 1.5]
    assert scores(model, words) == pytest.approx([-0.5, a_b, b_d, d_e, *after])


def test_gaps_in_arpa_score_as_in_kenlm(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(GAPS.replace("ngram 3=3", "ngram 3=2").replace("-0.5\tb d é\n", ""), encoding="utf-8")
    model, kenlm = open_lm(path), KenLM(path, ["a", "b", "c", "d", "é"])
    draw = random.Random(0)
    for _ in range(500):
        words = draw.choices(["a", "b", "c", "d", "é", "nowhere"], k=draw.randint(0, 9))
        assert scores(model, words) == pytest.approx(kenlm.scores(words), abs=1e-5)


def test_a_longer_ngram_without_its_end_scores_as_in_kenlm(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(GAPS.replace("-0.5\tb d é\n", "-0.5\tc d é\n"), encoding="utf-8")  # without `d é`
    model, kenlm = open_lm(path), KenLM(path, ["a", "b", "c", "d", "é"])
    draw = random.Random(0)
    for _ in range(500):
        words = draw.choices(["c", "d", "é", "a"], k=draw.randint(0, 9))
        assert scores(model, words) == pytest.approx(kenlm.scores(words), abs=1e-5)


def test_equal_ends_of_histories_are_equal_states(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(GAPS, encoding="utf-8")
    model = open_lm(path)

    def after(*words: str) -> object:
        state = model.start()
        for word in words:
            state, _ = model.score(state, word)
        return state

    assert after("a", "b") == after("c", "d", "a", "b") != after("b")
    assert after("é", "a") == after("c", "a") == after("a", "a")  # nothing begins with `é a`
    assert after("c", "nowhere") == after("nowhere") == after("elsewhere")
    assert hash(after("a", "b")) == hash(after("c", "a", "b"))


def test_words_are_known_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(GAPS, encoding="utf-8")
    model = open_lm(path)
    assert model.unigrams() == pytest.approx({"a": -1.0, "b": -1.25, "c": -2.0, "d": -2.5, "é": -1.75})
    assert model.knows("é") and not model.knows("A")
    assert not any(model.knows(word) for word in ("<s>", "</s>", "<unk>", ""))
    assert model.score(model.start(), "</s>")[1] == model.score(model.start(), "nowhere")[1]
    assert model.weights is None and len(model.fingerprint) == 16


def test_a_model_without_sentence_ends_scores_none(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text("\\data\\\nngram 1=2\n\\1-grams:\n-1\ta\n-2\tb\n\\end\\\n", encoding="utf-8")
    assert scores(open_lm(path), ["b", "a"]) == [-2, -1, 0]
