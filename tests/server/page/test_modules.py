"""The modules of the page that do no I/O, run by Chromium, against what they are ports of, or against soxr."""

import base64
import io
import json
import random
from collections.abc import Iterator
from functools import reduce
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile
import soxr

from earshot_asr.client.backoff import Backoff
from earshot_asr.client.continuity import Continuity
from earshot_asr.client.replay import Replay
from earshot_asr.engine import captions
from earshot_asr.engine.casing import Casing
from earshot_asr.engine.cues import OPENING
from earshot_asr.server import wire
from tests.server.page.browser import Browser, chromium
from tests.server.page.threaded import served

pytestmark = pytest.mark.slow
SEQUENCES = 150
RECORDED = bytes((n * 7919 + (n >> 8)) & 255 for n in range(1 << 20))
"""Audio that nowhere repeats itself."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """At an empty page of a server, from which the modules can be imported."""
    with chromium(tmp_path_factory.mktemp("browser")) as browser, served() as server:
        browser.open(f"{server.url}/healthz")
        yield browser


def plain(message: Any) -> Any:
    """As it comes over the wire."""
    return None if message is None else json.loads(wire.encode(message))


# ---- resampling


def resampled(browser: Browser, samples: "np.ndarray[Any, Any]", rate: int, sizes: list[int]) -> "np.ndarray[Any, Any]":
    """By the page, in blocks of these sizes, again and again."""
    script = """
        const { Resampler } = await import("/page/resample.js");
        const [samples, rate, sizes] = [Float32Array.from(values[0]), values[1], values[2]];
        const resampler = new Resampler(rate), made = [];
        for (let at = 0, n = 0; at < samples.length; at += sizes[n % sizes.length], n += 1) {
            made.push(...resampler.feed(samples.subarray(at, at + sizes[n % sizes.length])));
        }
        return [...made, ...resampler.finish()];
    """
    return np.asarray(browser.run_module(script, samples.tolist(), rate, sizes), np.float64)


def band(rate: int, seconds: float, highest: float) -> "np.ndarray[Any, Any]":
    """Noise of all frequencies up to the highest, of full scale 1."""
    count = round(rate * seconds)
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=count))
    spectrum[np.fft.rfftfreq(count, 1 / rate) > highest] = 0
    noise = np.fft.irfft(spectrum, count)
    return np.asarray(0.5 * noise / np.abs(noise).max())


def db(samples: "np.ndarray[Any, Any]") -> float:
    return float(10 * np.log10(np.mean(samples**2) + 1e-20))


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000])
def test_speech_is_resampled_as_by_soxr(browser: Browser, rate: int) -> None:
    """The band of speech, in place to a small part of a sample; the ends too."""
    heard = band(rate, 0.5, 0.44 * min(rate, 16_000))
    ours, theirs = resampled(browser, heard, rate, [2048]), soxr.resample(heard, rate, 16_000, "VHQ")
    assert len(ours) == len(theirs)
    assert db((ours - theirs)[200:-200]) < db(theirs) - 70


@pytest.mark.parametrize(("rate", "pitch"), [(48_000, 8050), (48_000, 15_900), (44_100, 9000), (96_000, 31_000)])
def test_what_is_too_high_is_not_folded_down_into_speech(browser: Browser, rate: int, pitch: int) -> None:
    tone = np.sin(2 * np.pi * pitch * np.arange(rate // 4) / rate)
    assert db(resampled(browser, tone, rate, [2048])[400:-400]) < -80


def test_how_audio_is_cut_makes_no_difference_to_the_resampler(browser: Browser) -> None:
    for rate in (8000, 44_100, 48_000):
        heard = band(rate, 0.2, 3000)
        whole = resampled(browser, heard, rate, [len(heard)])
        for sizes in ([1], [1, 441, 7, 1000], [128]):
            assert np.array_equal(resampled(browser, heard, rate, sizes), whole)


FILES = [(44_100, "WAV", "FLOAT", -70), (16_000, "FLAC", "PCM_16", -70), (48_000, "OGG", "OPUS", -12)]


@pytest.mark.parametrize(("rate", "kind", "subtype", "most"), FILES)
def test_a_file_is_decoded_and_resampled_well(browser: Browser, rate: int, kind: str, subtype: str, most: int) -> None:
    """Two channels, the mean of which is taken; what is too high for 16 kHz is not folded down."""
    heard, high = band(rate, 0.5, 7000), 0.0 * np.arange(rate // 2)
    if rate > 20_000:
        high = np.sin(2 * np.pi * 9000 * np.arange(rate // 2) / rate) / 4
    file = io.BytesIO()
    soundfile.write(file, np.stack([heard + high, heard - high / 2], axis=1), rate, format=kind, subtype=subtype)
    script = """
        const { FileAudio } = await import("/page/file.js");
        const file = new FileAudio(new Blob([Uint8Array.from(atob(values[0]), (char) => char.charCodeAt(0))]));
        const made = [];
        for await (const pcm of file) made.push(...pcm);
        return [made, file.duration];
    """
    made, duration = browser.run_module(script, base64.b64encode(file.getvalue()).decode())
    wanted = soxr.resample(heard, rate, 16_000, "VHQ")
    assert len(made) == len(wanted) and duration == pytest.approx(0.5)
    assert db((np.asarray(made) / 32768 - wanted)[400:-400]) < db(wanted) + most


def test_samples_are_clipped_not_wrapped(browser: Browser) -> None:
    script = 'return [...(await import("/page/resample.js")).toPcm(Float32Array.from(values[0]))]'
    assert browser.run_module(script, [-2, -1, -0.5, 0, 0.5, 1, 2]) == [-32768, -32768, -16384, 0, 16384, 32767, 32767]


# ---- the same as in Python, step by step


def test_replay_does_what_the_python_client_does(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MESSAGE_BYTES", 3200)
    rng = random.Random(0)
    large = [("audio", 65_537), ("take", 0), ("acked", 1600), ("audio", 70_000), *[("take", 0)] * 50]
    steps = [replay_steps(rng) for _ in range(SEQUENCES)] + [{"context": 0, "keep": 60, "steps": large}]
    script = """
        const { Replay } = await import("/page/replay.js");
        const recorded = Uint8Array.from({ length: 1 << 20 }, (_, n) => (n * 7919 + (n >> 8)) & 255);
        const digest = (data) => [data.length, data.reduce((sum, byte) => (sum * 31 + byte) % 1000003, 7)];
        return values[0].map(({ context, keep, steps }) => {
            const replay = new Replay(context, keep);
            let said = 0;
            return steps.map(([kind, size]) => {
                let told = null;
                if (kind === "audio") replay.audio(recorded.subarray(said, (said += size)));
                else if (kind === "take") told = replay.take();
                else if (kind === "acked") replay.acked(size);
                else if (kind === "rewind") told = replay.resumable ? replay.rewind("f") : null;
                else replay[kind]();
                if (told instanceof Uint8Array) told = digest(told);
                return [told, replay.full, replay.waiting, replay.kept, replay.taken, replay.cut, replay.size];
            });
        });
    """
    assert browser.run_module(script, steps) == [replayed(**each) for each in steps]


def digest(data: bytes) -> list[int]:
    return [len(data), reduce(lambda total, byte: (total * 31 + byte) % 1000003, data, 7)]


def replay_steps(rng: random.Random) -> dict[str, Any]:
    kinds = rng.choices(["audio", "flush", "take", "acked", "rewind"], (5, 1, 6, 2, 0.6), k=rng.randint(1, 50))
    steps = [(kind, rng.randint(0, 12_000)) for kind in kinds]
    if rng.random() < 0.5:
        steps += [("stop", 0), *[("take", 0)] * 5, ("rewind", 0), *[("take", 0)] * 30]
    return {"context": rng.choice([None, 0, 500, 3000]), "keep": rng.choice([0.1, 1, 60]), "steps": steps}


def replayed(context: int | None, keep: float, steps: list[tuple[str, int]]) -> list[list[Any]]:
    replay, said, results = Replay(context, keep), 0, []
    for kind, size in steps:
        told: Any = None
        match kind:
            case "audio":
                replay.audio(RECORDED[said : said + size])
                said += size
            case "take":
                told = replay.take()
            case "acked":
                replay.acked(size)
            case "rewind" if replay.resumable:
                told = msgspec.to_builtins(replay.rewind("f"))
            case "flush":
                replay.flush()
            case "stop":
                replay.stop()
        told = digest(told) if isinstance(told, bytes) else told if isinstance(told, dict) else plain(told)
        state = [replay.full, replay.waiting, replay.kept, replay.taken, replay.cut, len(replay._audio)]
        results.append([told, *state])
    return results


def test_memory_of_the_replay_is_bounded(browser: Browser) -> None:
    """Two hours in messages of a tenth of a second, committed a second later."""
    script = """
        const { Replay } = await import("/page/replay.js");
        const replay = new Replay(3200, 60), part = new Uint8Array(3200);
        let longest = 0;
        for (let n = 0; n < 72000; n += 1) {
            replay.audio(part);
            replay.take();
            replay.acked(Math.max(0, n - 10) * 1600);
            longest = Math.max(longest, replay.size);
        }
        return [longest, replay.kept];
    """
    longest, kept = browser.run_module(script)
    assert longest <= 3200 * 13
    assert kept == pytest.approx(1.1)


def test_continuity_does_what_the_python_client_does(browser: Browser) -> None:
    rng = random.Random(1)
    sequences = [[message_or_loss(rng) for _ in range(rng.randint(1, 30))] for _ in range(SEQUENCES)]
    script = """
        const { Continuity } = await import("/page/continuity.js");
        return values[0].map((sequence) => {
            const continuity = new Continuity();
            return sequence.map((each) => (each === null ? (continuity.resumed(), []) : continuity.filter(each)));
        });
    """
    sent = [[plain(each) for each in sequence] for sequence in sequences]
    assert browser.run_module(script, sent) == [continued(sequence) for sequence in sequences]


def continued(sequence: list[wire.ServerMessage | None]) -> list[list[Any]]:
    continuity, told = Continuity(), []
    for each in sequence:
        if each is None:
            continuity.resumed()
        told.append([] if each is None else [plain(message) for message in continuity.filter(each)])
    return told


def message_or_loss(rng: random.Random) -> wire.ServerMessage | None:
    """None: the connection is lost. Few different values, so that all cases occur."""
    segment, cut = rng.randrange(0, 64_000, 16_000), rng.randrange(0, 80_000, 16_000)
    end = segment / 16_000 + rng.choice([0.5, 1.0, 1.5])
    text = rng.choice(["", "HELLO", "HELLO WORLD"])
    choices: list[wire.ServerMessage | None] = [
        None,
        wire.PartialMessage(segment, segment / 16_000, end, text, 0),
        wire.PartialMessage(segment, segment / 16_000, end, text, 0),
        wire.FinalMessage(segment, segment / 16_000, end, "HELLO", 0.5, cut),
        wire.Ack(rng.randint(0, 9), rng.randint(0, 9), cut),
        wire.Ready("s", "m", "f", True, 0, 16_000, 1, 1, 1),
        wire.Done(5, 0.5),
    ]
    return rng.choice(choices)


def test_backoff_does_what_the_python_client_does(browser: Browser) -> None:
    rng = random.Random(2)
    kinds, times = ["lost", "wait", "wait", "found", "achieved"], [0, 0.5, 3, 70]
    sequences = [[(rng.choice(kinds), rng.choice(times)) for _ in range(30)] for _ in range(SEQUENCES)]
    script = """
        const { Backoff } = await import("/page/backoff.js");
        return values[0].map((steps) => {
            let now = 5;
            const backoff = new Backoff(300, 0.1, 5, () => now, (low, high) => low + (high - low) / 2);
            return steps.map(([kind, seconds]) => {
                now += seconds;
                const waited = backoff[kind]();
                return [waited ?? 0, backoff.left, backoff.attempts];
            });
        });
    """
    for ours, steps in zip(browser.run_module(script, sequences), sequences, strict=True):
        assert np.allclose(ours, backed_off(steps))


def backed_off(steps: list[tuple[str, float]]) -> list[list[float]]:
    now, results = 5.0, []
    backoff = Backoff(300, 0.1, 5, lambda: now, lambda low, high: low + (high - low) / 2)
    for kind, seconds in steps:
        now += seconds
        waited = getattr(backoff, kind)()
        results.append([waited or 0.0, backoff.left, backoff.attempts])
    return results


WORDS = {
    "Latin": ["Hello", "captions,", "read.", "OTORHINOLARYNGOLOGIST", "I'm", "<b>", "-->", "x" * 60],
    "English": ["printed", "books", "were", "old", "letters", *sorted(OPENING)],
    "Chinese": ["我", "们", "在", "这", "里。", "ABC"],
    "Japanese": ["は", "い", "、", "日", "本"],
    "Korean": ["안녕하세요", "저는"],
    "Greek": ["και", "ὦ", "e\u0301t\u0301"],
}


def said(rng: random.Random) -> list[wire.FinalMessage]:
    """Utterances of any length, pace and script, with pauses of any length within and between them."""
    finals, now = [], 0.0
    for _ in range(rng.randint(0, 5)):
        script = rng.choice(list(WORDS))
        begin = now = now + rng.choice([0, 0.05, 0.7, 5])
        words = []
        for _ in range(rng.choice([1, 3, 12, 40])):
            start = now + rng.choice([0, 0, 0.1, 0.6, 1.2])
            now = start + rng.choice([0.02, 0.2, 0.4, 1])
            words.append(wire.WireWord(rng.choice(WORDS[script]), round(start, 3), round(now, 3), 0.5))
        joiner = "" if script in ("Chinese", "Japanese") else " "
        text = joiner.join(word.text for word in words)
        now += rng.choice([0, 0.3, 2])
        final = wire.FinalMessage(round(begin * 16_000), round(begin, 3), round(now, 3), text, 0.5, round(now * 16_000))
        finals.append(msgspec.structs.replace(final, words=words))
    return finals


def test_files_are_those_of_the_python_client(browser: Browser) -> None:
    rng = random.Random(3)
    recordings = [said(rng) for _ in range(SEQUENCES)]
    script = """
        const { toText, toSrt, toVtt } = await import("/page/cues.js");
        return values[0].map((finals) => [toText(finals), toSrt(finals, 60), toVtt(finals, 60)]);
    """
    files = browser.run_module(script, [[plain(final) for final in finals] for finals in recordings])
    for ours, finals in zip(files, recordings, strict=True):
        for text, kind in zip(ours, ("text", "srt", "vtt"), strict=True):
            writer = captions.writer(kind)
            assert text == "".join(map(writer.feed, finals)) + writer.finish(60.0)


def test_an_utterance_without_times_of_words_has_cues_all_the_same(browser: Browser) -> None:
    script = """
        const { toCues } = await import("/page/cues.js");
        const text = "and what was said when the line was cut".repeat(3);
        return toCues([{ text, start: 1, end: 9, cut: 144000, words: null }], 9);
    """
    cues = browser.run_module(script)
    assert " ".join(line for cue in cues for line in cue["lines"]) == "and what was said when the line was cut" * 3
    assert cues[0]["startMs"] == 1000 and cues[-1]["endMs"] == 9000


# ---- what is shown


NAMES = ("Ada Lovelace", "iPhone", "NATO", "McDonald", "C++")
CASES = [
    ("en", "SO I SAID I'M HERE", "So I said I'm here"),
    ("eng", "so i'll go", "So I'll go"),
    ("en", "'TIS AN I-BEAM IN VI", "'Tis an i-beam in vi"),
    ("en", 'IS IT? YES. "I AM" HE SAID.', 'Is it? Yes. "I am" he said.'),
    ("en", "AT 3.5 PERCENT", "At 3.5 percent"),
    ("en", "IPHONE AND ADA LOVELACE'S NATO", "iPhone and Ada Lovelace's NATO"),
    ("en", "AT MCDONALD'S BUT NOT MCDONALDS", "At McDonald's but not mcdonalds"),
    ("ita", "TUTTI I RAGAZZI", "Tutti i ragazzi"),
    (None, "I CAME", "I came"),
    ("de", "ÜBER DIE STRAßE", "Über die straße"),
    ("deu", "ÜBER DIE STRASSE", "Über die strasse"),
    ("tr", "IŞIK İYİ", "Işık iyi"),
    ("tur", "İYİ", "İyi"),
    ("el", "ΟΔΟΣ ΚΑΙ", "Οδος και"),
    ("zh", "你好", "你好"),
    ("en", "The Model Knows BETTER", "The Model Knows BETTER"),
    ("en", "", ""),
    ("en", "I", "I"),
]


@pytest.mark.parametrize(("language", "text", "written"), CASES)
def test_sentence_case(browser: Browser, language: str | None, text: str, written: str) -> None:
    script = """
        const { Casing } = await import("/page/case.js");
        return new Casing(values[0], values[2]).text(values[1]);
    """
    assert browser.run_module(script, language, text, NAMES) == written


def test_sentence_case_is_that_of_the_command_line(browser: Browser) -> None:
    rng = random.Random(5)
    parts = [
        *"aiIİıßéÉΣςя你QX09_",
        "I",
        "ada",
        "LOVELACE",
        "NATO",
        "c++",
        "'",
        "’",
        '"',
        ". ",
        "? ",
        "-",
        " ",
        " ",
        "  ",
    ]
    languages = ["en", "eng", "tr", "tur", "deu", "el", None]
    cases = [(rng.choice(languages), "".join(rng.choices(parts, k=rng.randint(1, 12)))) for _ in range(3000)]
    cases = [(language, rng.choice([text, text.upper(), text.lower()])) for language, text in cases]
    script = """
        const { Casing } = await import("/page/case.js");
        return values[0].map(([language, text]) => new Casing(language, values[1]).text(text));
    """
    for ours, (language, text) in zip(browser.run_module(script, cases, NAMES), cases, strict=True):
        assert ours == Casing(language, NAMES).text(text), (language, text)


def test_captions_are_shown_as_they_come(browser: Browser) -> None:
    """Stable part, rest, final; words and times of a second take; what a failure leaves."""
    script = """
        const { Take } = await import("/page/captions.js");
        const { Casing } = await import("/page/case.js");
        const take = new Take(10);
        take.casing = new Casing("en");
        const seen = [], look = () => take.open && [take.open.stable, take.open.rest];
        for (const message of values[0]) {
            const final = take.show(message), words = final?.words?.map(({ text, start }) => [text, start]);
            seen.push([look(), final && [final.text, final.start, final.cut, words]]);
        }
        const left = take.abandon()?.text ?? null;
        return [seen, left, take.finals.map(({ text, unfinished }) => [text, unfinished ?? false])];
    """
    word = wire.WireWord
    messages: list[wire.ServerMessage] = [
        wire.PartialMessage(0, 0.5, 1.0, "I SEE", 1),
        wire.PartialMessage(0, 0.5, 1.0, "", 0),
        wire.PartialMessage(0, 0.5, 1.5, "I SEE YOU", 5),
        wire.FinalMessage(0, 0.5, 1.6, "I SEE YOU", 0.9, 32_000, [word("I", 0.5, 0.6, 1), word("SEE", 0.7, 0.8, 1)]),
        wire.PartialMessage(32_000, 2.0, 2.5, "UH", 0),
        wire.Ack(64_000, 64_000, 64_000),
        wire.PartialMessage(64_000, 4.5, 5.0, "THE END", 3),
    ]
    seen, left, finals = browser.run_module(script, [plain(message) for message in messages])
    assert [each[0] for each in seen] == [
        ["I", " see"],
        None,
        ["I see", " you"],
        None,
        ["", "Uh"],
        None,
        ["The", " end"],
    ]
    assert [each[1] for each in seen if each[1]] == [["I see you", 10.5, 192_000, [["I", 10.5], ["see", 10.7]]]]
    assert left == "The end"
    assert finals == [["I see you", False], ["The end", True]]


def rows_shown(browser: Browser, shows: list[tuple[int, str]], most: int = 10) -> list[list[str]]:
    """The lines after each text of an utterance."""
    script = """
        const { Lines } = await import("/page/lines.js");
        const lines = new Lines((text) => text.length, values[1]);
        return values[0].map(([segment, text]) => {
            lines.show(segment, text.split(" ").filter(Boolean).map((word) => ({ text: word, dim: false })));
            return lines.rows.map((row) => row.map((word) => word.text).join(" "));
        });
    """
    rows: list[list[str]] = browser.run_module(script, shows, most)
    return rows


def test_a_word_stays_in_its_line(browser: Browser) -> None:
    shows = [(0, "ONE TWO"), (0, "ONE TWO THREE"), (0, "ON TO THREE"), (0, "ON TO"), (0, "ON TO FOUR FIVE"), (1, "SIX")]
    assert rows_shown(browser, shows) == [
        ["ONE TWO"],
        ["ONE TWO", "THREE"],
        ["ON TO", "THREE"],  # though all would fit into one line now
        ["ON TO", ""],  # nor does a line vanish
        ["ON TO", "FOUR FIVE"],
        ["ON TO", "FOUR FIVE", "SIX"],
    ]


def test_what_fits_no_more_moves_on(browser: Browser) -> None:
    shows = [(0, "ONE TWO THREE"), (0, "ONEONE TWO THREE"), (0, "ONEONE TWOTWO THREE"), (0, "ENORMOUSLY-LONG WORD")]
    assert rows_shown(browser, shows)[1:] == [
        ["ONEONE TWO", "THREE"],
        ["ONEONE", "TWOTWO", "THREE"],
        ["ENORMOUSLY-LONG", "WORD", ""],
    ]


def test_a_withdrawn_utterance_leaves_its_line_to_the_next(browser: Browser) -> None:
    assert rows_shown(browser, [(0, "UH"), (0, ""), (5, "ONE")]) == [["UH"], [""], ["ONE"]]


def test_lines_never_vanish_and_are_never_too_long(browser: Browser) -> None:
    rng = random.Random(4)
    shows = [(n // 8, " ".join("X" * rng.randint(1, 6) for _ in range(rng.randint(1, 12)))) for n in range(200)]
    rows = rows_shown(browser, shows)
    for (segment, text), lines in zip(shows, rows, strict=True):
        assert " ".join(" ".join(lines).split()).endswith(text), segment
        assert all(len(line) <= 10 for line in lines)
    assert all(len(before) <= len(after) for before, after in pairwise(rows))


def test_a_line_is_shown_for_long_enough(browser: Browser) -> None:
    script = """
        const { Roll } = await import("/page/lines.js");
        const roll = new Roll(2, 1);
        return values[0].map(([count, now]) => [roll.update(count, now), roll.first]);
    """
    asked = [(1, 0), (2, 0.5), (3, 0.6), (3, 1.0), (7, 1.1), (7, 1.5), (7, 2.0), (7, 9.0)]
    told = browser.run_module(script, asked)
    assert [first for _, first in told] == [0, 0, 0, 1, 1, 2, 3, 5]
    assert [None if left is None else round(left, 6) for left, _ in told] == [
        None,
        None,
        0.4,
        None,
        0.4,
        0.5,
        0.5,
        None,
    ]


# ---- queues


def test_audio_that_nobody_reads_is_counted_and_replaced_by_zeros(browser: Browser) -> None:
    script = """
        const { Capture } = await import("/page/capture.js");
        const capture = new Capture(20000);
        for (let n = 1; n <= 4; n += 1) capture.put(new Int16Array(8000).fill(n));
        const taken = [];
        for (let pcm; (pcm = capture.take()) !== null; ) taken.push([pcm.length, pcm[0]]);
        for (let n = 0; n < 10; n += 1) {
            capture.put(new Int16Array(8000).fill(9));
            taken.push([8000, capture.take()[0]]);
        }
        return [taken, capture.dropped];
    """
    assert browser.run_module(script) == [[[8000, 1], [8000, 2], [16_000, 0], *[[8000, 9]] * 10], 16_000]


def test_a_crowded_inbox_keeps_all_finals_and_the_newest_of_the_rest(browser: Browser) -> None:
    script = """
        const { Inbox } = await import("/page/inbox.js");
        const inbox = new Inbox();
        for (let n = 0; n < 5000; n += 1) inbox.put({ type: n % 100 ? "partial" : "final", n });
        inbox.close(new Error("over"));
        const taken = [];
        try {
            for (;;) taken.push(await inbox.get());
        } catch (error) {
            return [taken.filter(({ type }) => type === "final").length, taken.length, taken.at(-1).n, error.message];
        }
    """
    finals, count, last, failure = browser.run_module(script)
    assert (finals, last, failure) == (50, 4999, "over")
    assert count < 1100


def test_words_to_listen_for(browser: Browser) -> None:
    script = 'return (await import("/page/settings.js")).hotwords(values[0])'
    assert browser.run_module(script, "Ada Lovelace\n\n Tafoya = 4.5\n") == [
        "Ada Lovelace",
        {"text": "Tafoya", "weight": 4.5},
    ]
