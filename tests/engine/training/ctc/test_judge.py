"""Error rates: the distance is the right one, batches make no difference, recordings are chosen by corpus."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jiwer import cer, wer

from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.training.ctc.judge import Errors, Judge, distance
from earshot_asr.engine.vocabulary import Vocabulary
from tests.engine.training import tones

WORDS = st.lists(st.sampled_from(["A", "BC", "CAB"]), min_size=1, max_size=6).map(" ".join)


@given(WORDS, WORDS)
def test_errors_are_jiwers(said: str, heard: str) -> None:
    errors = Errors()
    errors.add(said, heard)
    assert errors.rates() == pytest.approx({"wer": 100 * wer(said, heard), "cer": 100 * cer(said, heard)})


def test_distance() -> None:
    assert distance("", "") == 0
    assert distance("", "abc") == distance("abc", "") == 3
    assert distance("kitten", "sitting") == 3


def test_what_is_to_be_said_of_a_model() -> None:
    assert Errors(9, 9, 40, 40, heard=0).complaint() == "the model writes nothing"
    assert Errors(9, 9, 37, 40, heard=3).complaint() == "the model has learned nothing: 92 % CER"
    assert Errors(9, 9, 35, 40, heard=30).complaint() == ""
    assert Errors(9, 10, 0, 40, heard=9).complaint(phonemes=True) == "the model has learned nothing: 90 % PER"
    assert Errors(0, 0, 0, 0, heard=0).complaint() == ""  # nothing is said in the recordings


def judged(**options: Any) -> dict[str, Any]:
    task = tones.task()
    torch.manual_seed(0)
    judge = Judge(tones.corpus(), task.start.vocabulary, **{"per_corpus": None, **options})
    return judge(task.start.encoder.eval(), torch.device("cpu"))


def test_batches_make_no_difference() -> None:
    assert judged() == judged(seconds=0.1)
    assert judged(per_corpus=2) != judged()
    assert set(judged()) == {"pooled", "score"}
    assert judged(by="cer")["score"] == judged()["pooled"]["cer"]
    with pytest.raises(ConfigError, match="--score per: the vocabulary is of letters; it must be wer or cer"):
        judged(by="per")


def test_phonemes_have_a_rate_of_their_own() -> None:
    task = tones.task()
    letters = task.start.vocabulary
    vocabulary = Vocabulary(letters.symbols, letters.blank, special=letters.special, separator=" ")
    corpus = tones.corpus()
    corpus = corpus.with_texts([" ".join(text.replace(" ", "")) for text in corpus.texts])
    encoder, device = task.start.encoder.eval(), torch.device("cpu")
    figures = Judge(corpus, vocabulary, per_corpus=None)(encoder, device)
    assert set(figures["pooled"]) == {"per"} and figures["score"] == figures["pooled"]["per"]
    assert figures == Judge(corpus, vocabulary, per_corpus=None, by="per")(encoder, device)
    with pytest.raises(ConfigError, match="--score cer: the vocabulary is of phonemes; it must be per"):
        Judge(corpus, vocabulary, per_corpus=None, by="cer")


def test_corpora_are_counted_alone_and_together() -> None:
    corpus = tones.corpus()
    for n, row in enumerate(corpus.rows):
        object.__setattr__(row, "corpus", f"corpus {n % 2}")
    task = tones.task()
    judge = Judge(corpus, task.start.vocabulary, per_corpus=1)
    assert judge.chosen == [0, 1]
    figures = judge(task.start.encoder.eval(), torch.device("cpu"))
    assert set(figures) == {"corpus 0", "corpus 1", "pooled", "score"}
    assert figures["score"] == figures["pooled"]["wer"]
