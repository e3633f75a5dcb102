"""Live WebVTT in segments: each is written once, and together they hold every cue where it is shown."""

import re
from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.audio import SAMPLE_RATE
from earshot_asr.engine.captions import vtt_cue
from earshot_asr.engine.cues import Cue, CueTimer
from earshot_asr.engine.events import Final
from earshot_asr.engine.segments import HEADER, PLAYLIST, SEGMENT_MS, Files, Segments
from tests.engine.test_cues import cues, recordings, utterance


class Folder:
    """What is written: a segment never twice."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}

    def write(self, files: Files) -> list[str]:
        names = []
        for name, text in files:
            assert name == PLAYLIST or name not in self.files
            self.files[name] = text
            names.append(name)
            assert all(each in self.files for each in self.listed), "the playlist names what is not there"
        return names

    @property
    def listed(self) -> list[str]:
        return re.findall(r"^captions-.*$", self.files.get(PLAYLIST, ""), re.MULTILINE)

    @property
    def segments(self) -> list[str]:
        return [self.files[name] for name in self.listed]


def test_a_segment_comes_when_all_that_is_shown_in_it_is_known() -> None:
    folder, segments = Folder(), Segments(datetime(2026, 11, 29, 12, 0, tzinfo=UTC))
    assert folder.write(segments.silent(5 * SAMPLE_RATE)) == []
    assert folder.write(segments.feed(utterance("GOOD MORNING", 4.0))) == []
    assert folder.write(segments.silent(7 * SAMPLE_RATE)) == ["captions-000000.vtt", PLAYLIST]
    assert folder.segments == [HEADER + "00:00:04.000 --> 00:00:05.000\nGOOD MORNING\n\n"]
    assert folder.write(segments.feed(utterance("SO IT BEGINS NOW", 11.5, tail=0.0))) == []  # its cue may yet be longer
    assert folder.write(segments.silent(15 * SAMPLE_RATE)) == ["captions-000001.vtt", PLAYLIST]
    assert "SO IT BEGINS NOW" in folder.segments[1]
    assert "#EXT-X-ENDLIST" not in folder.files[PLAYLIST]
    assert folder.write(segments.finish(15.0)) == ["captions-000002.vtt", PLAYLIST]
    assert "SO IT BEGINS NOW" in folder.segments[2]  # it is shown there, too
    assert folder.files[PLAYLIST] == (
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:EVENT\n"
        "#EXT-X-PROGRAM-DATE-TIME:2026-11-29T12:00:00.000Z\n#EXTINF:6.000,\ncaptions-000000.vtt\n"
        "#EXTINF:6.000,\ncaptions-000001.vtt\n#EXTINF:3.000,\ncaptions-000002.vtt\n#EXT-X-ENDLIST\n"
    )


def test_a_word_may_begin_a_little_before_the_cut() -> None:
    """Where it is heard, not where the engine was."""
    folder, segments = Folder(), Segments()
    assert folder.write(segments.silent(6 * SAMPLE_RATE)) == []
    folder.write(segments.feed(utterance("HELLO", 5.95)))
    folder.write(segments.finish(12.0))
    assert "HELLO" in folder.segments[0]
    assert "HELLO" in folder.segments[1]


def test_silence_has_empty_segments() -> None:
    folder, segments = Folder(), Segments()
    folder.write(segments.silent(13 * SAMPLE_RATE))
    assert folder.segments == [HEADER, HEADER]


def test_without_audio_there_is_an_empty_playlist() -> None:
    folder = Folder()
    assert folder.write(Segments().finish(0.0)) == [PLAYLIST]
    assert not folder.segments


@given(recordings(), st.lists(st.floats(0, 1), min_size=5, max_size=5), st.floats(0, 20))
def test_every_cue_is_in_the_segments_in_which_it_is_shown(
    finals: list[Final], shares: list[float], tail: float
) -> None:
    """However often it is said that there was silence."""
    folder, segments, timer = Folder(), Segments(), CueTimer()
    known: list[Cue] = []
    finals = (
        [
            replace(final, cut=min(final.cut, round((after.start + 0.06) * SAMPLE_RATE)))  # as the engine has it
            for final, after in zip(finals, [*finals[1:], *finals[-1:]], strict=True)
        ][:-1]
        + finals[-1:]
    )
    duration = (finals[-1].cut / SAMPLE_RATE if finals else 0.0) + tail
    begins = [round(final.start * SAMPLE_RATE) for final in finals[1:]] + [round(duration * SAMPLE_RATE)]
    for final, begin, share in zip(finals, begins, shares, strict=False):
        folder.write(segments.feed(final))
        known += timer.feed(final)
        cut = final.cut + round(share * max(0, begin - final.cut))
        folder.write(segments.silent(cut))
        known += timer.silent(cut)
    folder.write(segments.finish(duration))
    known += timer.finish(duration)
    for number, text in enumerate(folder.segments):
        start, end = number * SEGMENT_MS, (number + 1) * SEGMENT_MS
        assert text == HEADER + "".join(vtt_cue(cue) for cue in known if cue.start_ms < end and cue.end_ms > start)
    assert all(cue.end_ms <= len(folder.segments) * SEGMENT_MS for cue in known)
    lengths = [float(each) for each in re.findall(r"#EXTINF:([\d.]+),", folder.files[PLAYLIST])]
    assert all(0 < length <= 6 for length in lengths)
    assert sum(lengths) >= round(duration, 3) - 0.002


@given(recordings())
def test_silence_closes_cues_and_changes_no_word(finals: list[Final]) -> None:
    timer = CueTimer()
    said = []
    for final in finals:
        said += [*timer.feed(final), *timer.silent(final.cut)]
    assert [*said, *timer.finish(0.0)] == cues(*finals)
