"""Kneser-Ney: probabilities are as the definition has them; and the files of `earshot train lm`."""

import lzma
import math
import random
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from earshot_asr.engine.errors import TrainingError
from earshot_asr.engine.lm import open_lm
from earshot_asr.engine.lm.estimate import estimate
from earshot_asr.engine.lm.trie import TrieModel
from earshot_asr.engine.training.__main__ import main
from tests.engine.lm.oracle import KenLM
from tests.engine.lm.test_formats import scores

Gram = tuple[str, ...]


def text(seed: int = 0, count: int = 600) -> list[str]:
    """Sentences in which some words, and pairs of words, are much more frequent than others."""
    draw = random.Random(seed)
    words = [f"w{n}" for n in range(60)]
    found = []
    for _ in range(count):
        sentence = [words[min(int(draw.expovariate(0.12)), 59)]]
        while draw.random() < 0.8:
            again = words[(words.index(sentence[-1]) * 7 + 1) % 60]
            sentence.append(again if draw.random() < 0.4 else words[min(int(draw.expovariate(0.12)), 59)])
        found.append(" ".join(sentence))
    return found


class Definition:
    """Interpolated modified Kneser-Ney of all n-grams, slowly."""

    def __init__(self, sentences: Sequence[str], order: int, least: int, pruned: Sequence[int]) -> None:
        known = {word for word, n in Counter(" ".join(sentences).split()).items() if n >= least} | {"<s>", "</s>"}
        marked = [["<s>", *sentence.split(), "</s>"] for sentence in sentences]
        self.raw: Counter[Gram] = Counter(
            gram
            for words in marked
            for n in range(1, order + 1)
            for at in range(len(words) - n + 1)
            if known.issuperset(gram := tuple(words[at : at + n]))
        )
        self.order, self.pruned, self.size = order, pruned, len(known)
        before: Counter[Gram] = Counter(gram[1:] for gram in self.raw)
        self.counts = {
            gram: n if len(gram) == order or gram[0] == "<s>" else before[gram] for gram, n in self.raw.items()
        }
        self.counts[("<s>",)] = 0
        self.prob, self.discount = cache(self._prob), cache(self._discount)

    def _discount(self, length: int, count: int) -> float:
        t = Counter(n for gram, n in self.counts.items() if len(gram) == length)
        k = min(count, 3)
        return k - (k + 1) * t[1] / (t[1] + 2 * t[2]) * t[k + 1] / t[k] if k else 0.0

    def _prob(self, gram: Gram) -> float:
        """P of the last word after the others: of an n-gram that was left out, what shorter ones say."""
        if not gram:
            return 1 / self.size
        context = gram[:-1]
        after = {each: n for each, n in self.counts.items() if len(each) == len(gram) and each[:-1] == context}
        if not (total := sum(after.values())) or (context and self.raw[context] <= self.pruned[len(context) - 1]):
            return self.prob(gram[1:])
        discounts = {each: self.discount(len(gram), n) for each, n in after.items()}
        kept = {each for each in after if self.raw[each] > self.pruned[len(gram) - 1]}
        left = sum(discounts[each] if each in kept else n for each, n in after.items())
        own = (after[gram] - discounts[gram]) / total if gram in kept else 0.0
        return own + left / total * self.prob(gram[1:])


@pytest.mark.parametrize(("order", "pruned"), [(2, (0, 0)), (3, (0, 0, 0)), (3, (0, 1, 2))])
def test_it_is_what_the_definition_says(order: int, pruned: tuple[int, ...]) -> None:
    sentences = text()
    model = TrieModel(*estimate(sentences, order, 3, pruned), "")
    wanted = Definition(sentences, order, 3, pruned)
    for sentence in text(1, 25):
        words = sentence.split()
        history = ["<s>", *words, "</s>"]
        found = scores(model, words)
        for at in range(1, len(history)):
            gram = tuple(history[max(0, at - order + 1) : at + 1])
            if all(model.knows(word) or word in ("<s>", "</s>") for word in gram):
                assert found[at - 1] == pytest.approx(math.log10(wanted.prob(gram)), abs=1e-5), gram


@pytest.mark.parametrize("pruned", [(0, 0, 0, 0), (0, 0, 1, 2)])
def test_probabilities_add_up_to_one(pruned: tuple[int, ...]) -> None:
    model = TrieModel(*estimate(text(), 4, 2, pruned), "")
    for sentence in text(2, 30):
        state = model.start()
        for word in sentence.split():
            total = sum(10 ** model.score(state, each)[1] for each in (*model.unigrams(), "neverheardof"))
            assert total + 10 ** model.finish(state) == pytest.approx(1, abs=1e-4)
            state, _ = model.score(state, word)


def test_the_command_writes_what_kenlm_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.xz").write_bytes(lzma.compress("\n".join(text()).upper().encode()))
    out = tmp_path / "lm.bin"
    main(["lm", str(tmp_path / "text.xz"), "--order", "4", "--out", str(out)])
    assert f"{out}: 6" in capsys.readouterr().out
    model = open_lm(out)
    plain = TrieModel(*estimate(text(), 4, 2, (0, 0, 1, 1)), "")
    kenlm = KenLM(out, model.unigrams())
    for sentence in text(3, 200):
        found = scores(model, sentence.split())
        assert found == pytest.approx(kenlm.scores(sentence.split()), abs=1e-5)
        assert found == pytest.approx(scores(plain, sentence.split()), abs=0.2)  # 8 bits


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--order", "1"], "--order is 1; it must be 2 to 6"),
        (["--least", "0"], "--least is 0; it must be 1 or more"),
        (["--prune", "0", "1"], "--prune must be 3 numbers, the first 0 and none less than the one before it"),
        (["--prune", "0", "2", "1"], "--prune must be 3 numbers"),
        (["--out", "."], "is there already; give a new file"),
        ([], "the text is too small: it must have n-grams that are there once, twice, 3 and 4 times"),
    ],
)
def test_what_can_not_be_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    (tmp_path / "text").write_text("one two\none two three\n", encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["lm", str(tmp_path / "text"), "--out", str(tmp_path / "lm.bin"), *options])
    assert said in capsys.readouterr().err
    assert not (tmp_path / "lm.bin").exists()


def test_a_text_without_words() -> None:
    with pytest.raises(TrainingError):
        estimate([], 2, 1, (0, 0))


def test_words_with_which_nothing_begins_are_forgotten() -> None:
    model = TrieModel(*estimate(text(), 2, 2, (0, 5)), "")
    begins = {gram[0] for gram, n in Definition(text(), 2, 2, (0, 5)).raw.items() if len(gram) == 2 and n > 5}
    nothing = model.score(model.start(), "neverheardof")[0]
    forgotten = {word for word in model.unigrams() if model.score(model.start(), word)[0] == nothing}
    assert forgotten == set(model.unigrams()) - begins != set()
