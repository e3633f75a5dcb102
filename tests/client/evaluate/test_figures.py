"""The judge judged: known delays, known corrections and known errors must yield exactly those figures."""

from dataclasses import replace

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.client.evaluate.figures import COUNTS, MEANINGS, POOLED, QUANTILES, RATES, figures
from earshot_asr.client.evaluate.take import PeerResult, SpokenWord, Take
from earshot_asr.client.evaluate.tally import character_errors, errors, staleness, tally
from tests.client.evaluate.scripted import clip, final, partial, spoken, take

WORDS = spoken("THE CAT SAT DOWN")  # from 1 to 3 s, half a second each


def story() -> Take:
    """Four words, of which one is wrong; seven were shown, of which three went, one of them out of `stable`."""
    heard = [*WORDS[:3], SpokenWord("TOWN", 2.5, 3.0)]
    return take(
        clip("The cat sat down", WORDS),
        partial(1.62, "the", seen=1.5),
        partial(2.13, "the bat", "the", seen=2.0),
        partial(2.64, "the cat sad", "the cat", seen=2.5),
        partial(3.15, "the cab sat", "the cab", seen=3.0),
        final(3.9, heard, cut=3.3),
        seconds=4.0,
        work=0.5,
        due={0: 3.7},
        plain="the cat sat down town",
        peers={
            "transformers": PeerResult("The cat sat down, town", 1.0),
            "pocketsphinx": PeerResult("the cat sat", 2.0),
        },
    )


def values(of: Take) -> dict[str, float]:
    return {name: figure.value for name, figure in figures([of])["book"].items()}


def test_known_errors() -> None:
    found = values(story())
    assert found["WER"] == 25  # DOWN was heard as TOWN
    assert found["CER"] == pytest.approx(100 * 1 / len("THE CAT SAT DOWN"))
    assert found["plain WER"] == 25
    assert found["file gap"] == 0
    assert found["transformers WER"] == 25
    assert found["transformers equal"] == 100
    assert found["pocketsphinx WER"] == 25
    assert found["pocketsphinx CER"] == pytest.approx(100 * 5 / len("THE CAT SAT DOWN"))
    assert found["pocketsphinx RTFx"] == 2


def test_known_delays() -> None:
    found = values(story())
    latencies = [1.62 - 1.5, 3.9 - 2.0, 3.15 - 2.5]  # THE at once, CAT with the final as CAB was between, SAT in time
    stable = [2.13 - 1.5, 3.9 - 2.0, 3.9 - 2.5]
    for name, delays in (("word latency", latencies), ("time to stable", stable)):
        for level in (50, 90, 99):
            expected = np.quantile(delays, level / 100, method="inverted_cdf")
            assert found[f"{name} p{level}"] == pytest.approx(expected)
    assert found["first partial p50"] == pytest.approx(1.62 - 1.0)
    assert found["final delay p95"] == pytest.approx(3.9 - 3.0)
    assert found["final lag p50"] == pytest.approx(0.2)
    assert found["RTFx"] == 8
    assert found["words timed"] == 75


def test_known_corrections() -> None:
    found = values(story())
    assert found["stable before final"] == 25  # THE
    assert found["unstable words"] == 100  # BAT, CAT, SAD, CAB, over four words
    assert found["unstable in stable"] == 50  # CAT, CAB
    assert found["normalized erasure"] == (1 + 2 + 2) / 4
    assert found["retractions after final"] == 0


def test_known_staleness() -> None:
    now, stale = staleness(story())
    assert now[0] == 1.0 and now[-1] == pytest.approx(2.98)
    expected = now - np.select([now < 1.62, now < 2.13, now < 2.64], [1.0, 1.5, 2.0], 2.5)
    assert stale == pytest.approx(expected)
    assert values(story())["staleness p99"] == pytest.approx(np.quantile(expected, 0.99, method="inverted_cdf"))


def test_what_a_message_has_seen_had_arrived_with_its_block() -> None:
    played = take(clip("a", spoken("A")), partial(1.2, "a", seen=1.11))
    now, stale = staleness(played)
    assert stale[-1] == pytest.approx(now[-1] - 1.2)


def test_nothing_is_stale_while_nobody_speaks() -> None:
    said = spoken("ONE") + spoken("TWO", 5.0)
    now, stale = staleness(take(clip("one two", said), partial(1.5, "one", seen=1.5)))
    assert not np.any((now > 1.5) & (now < 5.0))
    assert stale[now == 5.0] == 0


def test_an_utterance_cut_in_mid_speech_has_no_end_and_the_next_no_beginning() -> None:
    said = spoken("ONE TWO THREE") + spoken("FOUR", 6.0)
    played = take(
        clip("one two three four", said),
        partial(1.7, "one"),
        final(2.6, said[:1], cut=1.5),  # due at 2.5, when they were at THREE
        partial(2.7, "two", segment=1.5),
        final(3.2, said[1:3], segment=1.5, cut=4.0),
        final(7.3, said[3:], segment=4.0),
        due={0: 2.5, 24_000: 3.1, 64_000: 7.2},
    )
    delays = tally(played).delays
    assert delays["first partial"] == pytest.approx([0.7, 1.3])  # of ONE, and of FOUR with its final
    assert delays["final delay"] == pytest.approx([0.7, 0.8])  # of THREE and FOUR
    assert delays["final lag"] == pytest.approx([0.1, 0.1, 0.1])


def test_retractions_are_counted() -> None:
    played = story()
    played.heard += [partial(5, "the"), final(6, WORDS)]
    assert values(played)["retractions after final"] == 2


def test_without_an_alignment_there_are_errors_and_stability_but_no_delays() -> None:
    played = story()
    played.clip = clip("The cat sat down")
    found = values(played)
    assert found["clips"] == 1 and found["clips aligned"] == 0
    assert {"WER", "unstable words", "final lag p50", "RTFx"} <= found.keys()
    assert (
        not {"word latency p50", "first partial p50", "final delay p50", "staleness p50", "words timed"} & found.keys()
    )


def test_what_was_not_run_is_left_out() -> None:
    played = replace(story(), plain=None, peers={}, work=None, due={})
    missing = {"plain WER", "plain CER", "file gap", "transformers WER", "transformers equal", "RTFx", "final lag p50"}
    assert not (missing | {"PER", "plain PER", "pocketsphinx WER", "words a minute"}) & values(played).keys()


def test_what_is_heard_where_nothing_is_said_is_counted_by_the_minute_and_not_in_wer() -> None:
    quiet = take(clip("", [], corpus="noise"), final(3, spoken("I AM")), seconds=30.0, plain="I")
    quiet.peers = {"pocketsphinx": PeerResult("the he hee", 1.0)}
    silent = take(clip(" -- ", [], corpus="noise"), seconds=90.0)
    found = figures([quiet, silent, story()])
    assert found["noise"]["words a minute"].value == found[POOLED]["words a minute"].value == 1.0
    assert found["noise"]["pocketsphinx words a minute"].value == 6.0
    assert found[POOLED]["WER"].value == found["book"]["WER"].value == 25
    assert found["noise"]["clips aligned"].value == 2
    assert not {"WER", "CER", "plain WER", "file gap", "pocketsphinx WER"} & found["noise"].keys()


def test_pooled_is_speech_and_beside_it_the_words_a_minute_of_what_is_none() -> None:
    noise, music = (
        take(clip("", [], corpus=corpus), final(3, spoken("UH")), seconds=60.0, work=1.0)
        for corpus in ("noise", "music")
    )
    found = figures([story(), noise, music])
    assert found["noise"]["RTFx"].value == 60
    pooled = dict(found[POOLED])
    assert pooled.pop("words a minute").value == 1
    assert {name: of.value for name, of in pooled.items()} == {name: of.value for name, of in found["book"].items()}
    assert figures([noise, music])[POOLED]["RTFx"].value == 60


def test_rounds_and_gains_of_a_recording_make_no_interval_narrower() -> None:
    """All plays of a recording are drawn together."""
    plays = [
        take(replace(clip("", [], name=f"{n}.wav", corpus="noise"), gain=gain), *said, seconds=60.0)
        for gain in (0.0, 10.0)
        for n, said in enumerate([[], [final(3, spoken("UH"))], [final(3, spoken("OH I SEE"))]])
    ]
    once, twice = (figures(some)["noise"]["words a minute"] for some in (plays[:3], plays))
    assert once == twice and once.low is not None
    assert figures(plays[::3])["noise"]["words a minute"].low is None


def test_phonemes_have_a_rate_of_their_own() -> None:
    heard = [SpokenWord(text, n / 10, n / 10 + 0.1) for n, text in enumerate(["ð", "ə", "k", "aː", "t"], 10)]
    played = take(clip("The cat", spoken("THE CAT")), final(3, heard), plain="ð ə k æ t s", phonemes="ð ə k æ t")
    played.peers = {"transformers": PeerResult("ð ə k æ t s", 1.0), "pocketsphinx": PeerResult("the", 1.0)}
    found = values(played)
    assert (found["transformers PER"], found["transformers equal"], found["pocketsphinx WER"]) == (20, 100, 50)
    assert "transformers WER" not in found
    noise = take(clip("", [], corpus="noise"), final(3, heard[:3]), seconds=30.0, phonemes="")
    noise.peers = {"pocketsphinx": PeerResult("the", 1.0)}
    minutes = figures([noise])["noise"]
    assert (minutes["words a minute"].value, minutes["pocketsphinx words a minute"].value) == (6, 2)
    assert found["PER"] == found["plain PER"] == 20
    assert found["file gap"] == 0
    assert not {"WER", "CER", "plain WER", "plain CER", "word latency p50"} & found.keys()
    assert values(replace(played, plain="ð ə"))["file gap"] == -40


def test_phonemes_are_no_words_of_the_alignment() -> None:
    heard = [SpokenWord(text, 1.0, 1.5) for text in ("i", "s")]
    played = take(clip("I see", spoken("I SEE")), final(3, heard), phonemes="aɪ s iː")
    assert "word latency p50" not in values(played)
    assert values(replace(played, phonemes=None))["words timed"] == 50


def test_corpora_and_all_of_them() -> None:
    other = take(clip("one two", name="b.wav", corpus="other"), final(2, spoken("ONE TWO")), seconds=6.0)
    found = figures([story(), other, story()])
    assert list(found) == ["book", "other", POOLED]
    assert [found[corpus]["WER"].value for corpus in found] == [25, 0, 20]
    assert [found[corpus]["clips"].value for corpus in found] == [2, 1, 3]
    assert found[POOLED]["audio"].value == 14
    assert found["other"]["WER"].low is None
    wer = found[POOLED]["WER"]
    assert wer.low is not None and wer.high is not None
    assert wer.low < wer.value < wer.high


def test_the_same_seed_draws_the_same_clips() -> None:
    takes = [
        story(),
        *(take(clip("one two", name=text), final(2, spoken(text))) for text in ("ONE", "ONE TWO", "ON TO")),
    ]
    assert figures(takes, 1) == figures(takes, 1)
    assert figures(takes, 1) != figures(takes, 2)


def test_every_figure_has_a_meaning() -> None:
    assert set(MEANINGS) == {*RATES, *QUANTILES, *COUNTS}


def test_an_empty_reference_is_no_division() -> None:
    found = values(take(clip(""), final(2, spoken("UH OH"))))
    assert "WER" not in found
    assert errors([], ["UH", "OH"]) == (2, 0)
    assert errors(["UH", "OH"], []) == (2, 2)
    assert character_errors("", "uh") == (2, 0)


texts = st.lists(st.sampled_from(["a", "bb", "cab"]), min_size=1, max_size=8).map(" ".join)


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=4))
def test_rates_are_those_of_jiwer(lines: list[tuple[str, str]]) -> None:
    takes = [take(clip(reference), final(2, spoken(text))) for reference, text in lines]
    references, heard = (list(column) for column in zip(*lines, strict=True))
    found = figures(takes)["book"]
    assert found["WER"].value == pytest.approx(100 * jiwer.wer(references, heard))
    assert found["CER"].value == pytest.approx(100 * jiwer.cer(references, heard))


def test_an_engine_that_says_nothing_is_as_stale_as_speech_is_old() -> None:
    """Pauses between words do not make it fresh."""
    said = [SpokenWord("WORD", at, at + 0.3) for at in np.arange(1.0, 15.0, 0.7)]
    now, stale = staleness(take(clip("word " * 20, said)))
    assert stale == pytest.approx(now - 1.0)
