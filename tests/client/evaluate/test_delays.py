"""The plots of all that takes time, from takes of which every time is known."""

from collections.abc import Sequence

from earshot_asr.client.evaluate.delays import LONG_STREAM_SECONDS, delays
from earshot_asr.client.evaluate.figures import Figure
from earshot_asr.client.evaluate.markup import Markup
from earshot_asr.client.evaluate.take import Take
from earshot_asr.client.evaluate.words import lives
from tests.client.evaluate.clips import take, titles


def plots(takes: Sequence[Take]) -> dict[str, Markup]:
    """By title."""
    marks = {"word latency p50": Figure(0.3, unit="s")}
    shown = delays(takes, [life for one in takes for life in lives(one)], marks)
    parts = (
        part.removesuffix("</div>") if part.endswith("</figure></div>") else part
        for part in shown.split("<figure>")[1:]
    )
    return {part.split("<b>")[1].split("</b>")[0]: Markup(f"<figure>{part}") for part in parts}


def test_word_latency() -> None:
    """ONE: 0.8 - 0.5; TWO: 1.2 - 0.9; THREE, with the final: 2.0 - 1.4."""
    bars = titles(plots([take()])["Word latency"])
    assert [bar.split(" of words")[0] for bar in bars if bar.endswith("partial")] == [
        "0.28 to 0.3 s: 33.3 %",
        "0.3 to 0.32 s: 33.3 %",
    ]
    assert [bar for bar in bars if bar.endswith("final")] == ["0.58 s or more: 33.3 % of words, shown by the final"]
    assert "p50 0.30 s" in plots([take()])["Word latency"]


def test_time_until_words_are_shown_stable_and_final() -> None:
    """Stable is ONE after 0.7 s; TWO is final after 1.1, THREE after 0.6, ONE after 1.5."""
    tips = {
        tip.split(" s: ")[0]: tip.split(" s: ")[1]
        for tip in titles(plots([take()])["Time until words are shown, stable and final"])
    }
    assert tips["0.2"] == "shown as in the final 0 %; stable or final 0 %; final 0 %"
    assert tips["0.5"] == "shown as in the final 66.7 %; stable or final 0 %; final 0 %"
    assert tips["1"] == "shown as in the final 100 %; stable or final 66.7 %; final 33.3 %"
    assert tips["1.5"].endswith("stable or final 100 %; final 100 %")


def test_final_lag() -> None:
    (bar,) = titles(plots([take(), take()])["Final lag"])
    assert bar.endswith("100.0 % of finals")


def test_a_long_stream_is_looked_at_along_its_length() -> None:
    assert "Staleness over the stream" not in plots([take()])
    long = take(seconds=LONG_STREAM_SECONDS)
    later = [(word.text, word.start + 100, word.end + 100) for word in long.clip.words or ()]
    assert long.clip.words
    words = (*long.clip.words, *(type(long.clip.words[0])(*word) for word in later))
    long.clip = type(long.clip)("long.jsonl", "tests", "", (), words)
    tips = titles(plots([long])["Staleness over the stream"])
    assert len(tips) == 2 and all("p50" in tip and "p95" in tip for tip in tips)


def test_nothing_to_go_by() -> None:
    silent = take()
    silent.heard, silent.due = [], {}
    assert "Word latency" not in plots([silent])
    assert delays([], [], {}) == ""
