"""The English language model that comes with Earshot."""

import random
import re
import subprocess
import sys
from itertools import pairwise

import pytest

from earshot_asr.engine.lm import BUNDLED, bundled_lm, open_lm
from tests.engine.lm.oracle import KenLM
from tests.engine.lm.test_formats import scores


def test_it_scores_as_kenlm_does() -> None:
    model, draw = bundled_lm(), random.Random(0)
    words = sorted(model.unigrams())
    kenlm = KenLM(BUNDLED / "en-3gram.trie.bin", words)
    follows = {word: [word] for word in words}  # what often comes next, so that n-grams of all lengths are met
    for line in (BUNDLED / "README.md").read_text(encoding="utf-8").lower().splitlines():
        text = re.findall(r"[a-z']+", line)
        for word, after in pairwise(text):
            follows.setdefault(word, []).append(after)
    for _ in range(400):
        text = draw.choices([*words, "neverheardof"], k=draw.randint(0, 6))
        for _ in range(draw.randint(0, 12)):
            text.append(
                draw.choice(follows.get(text[-1], words)) if text and draw.random() < 0.8 else draw.choice(words)
            )
        assert scores(model, text) == pytest.approx(kenlm.scores(text), abs=1e-5)


def test_it_knows_english() -> None:
    model = bundled_lm()
    assert model.order == 3 and len(model.unigrams()) == 41_792
    assert model.knows("the") and model.knows("don't") and not model.knows("The")
    likely, odd = "how do you do", "hough due ewe dew"
    assert sum(scores(model, likely.split())) > sum(scores(model, odd.split())) + 5
    assert model.weights is None and model.fingerprint == open_lm(BUNDLED / "en-3gram.trie.bin").fingerprint


def test_its_card_says_what_it_is_made_of() -> None:
    card = (BUNDLED / "README.md").read_text(encoding="utf-8")
    for said in ("Tatoeba", "CC BY 2.0 FR", "OpenStax", "CC BY 4.0", "Common Voice", "41,792", "Perplexity"):
        assert said in card


def test_language_models_need_no_torch() -> None:
    code = "from earshot_asr.engine.lm import bundled_lm; bundled_lm(); import sys; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
