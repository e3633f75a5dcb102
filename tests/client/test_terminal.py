"""What is on the screen, compared as text, and as styles where they carry meaning."""

from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from earshot_asr.client.stream import Connected, Reconnecting, Resumed, Waiting
from earshot_asr.client.terminal import Captions, Terminal, elapsed, level_db, screen, utterance
from earshot_asr.client.written import FinalsOnly, JsonLines
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.text import printable
from earshot_asr.server.wire import Ack, FinalMessage, PartialMessage, WireWord
from tests.terminal_screen import TerminalScreen

HELLO = FinalMessage(0, 0.1, 0.9, "HELLO WORLD", 0.9, 16_000, [WireWord("HELLO", 0.1, 0.4, 0.9)])


def console(width: int = 80, height: int = 24) -> Console:
    return Console(file=StringIO(), width=width, height=height, force_terminal=True, _environ={})


def written(out: Console) -> str:
    """All that was written to a console."""
    assert isinstance(out.file, StringIO)
    return out.file.getvalue()


def quiet(seconds: float) -> Pcm:
    return np.zeros(round(seconds * SAMPLE_RATE), np.int16)


def shown(captions: Captions, width: int = 80, height: int = 24) -> list[str]:
    """The live region, line by line."""
    plain = Console(file=StringIO(), width=width, height=height)
    with plain.capture() as capture:
        plain.print(captions)
    return capture.get().splitlines()


def test_the_open_utterance_stands_above_the_footer() -> None:
    captions = Captions()
    captions.hear(quiet(1.5), 0.0, now=101.5)
    assert captions.show(PartialMessage(0, 0.1, 1.2, "HELLO WOR", 5), now=101.8) is None
    assert shown(captions) == ["HELLO WOR", "0:01  delay 0.6 s"]


def test_stable_is_plain_and_the_rest_is_dim() -> None:
    text = utterance(PartialMessage(0, 0, 1, "HELLO WOR", 6))
    assert text.plain == "HELLO WOR"
    assert [(span.start, span.end, span.style) for span in text.spans] == [(6, 9, "dim")]


def test_a_final_leaves_the_live_region() -> None:
    captions = Captions()
    captions.show(PartialMessage(0, 0.1, 0.8, "HELO", 0), now=1.0)
    assert captions.show(HELLO, now=1.1) == "HELLO WORLD"
    assert shown(captions)[0].startswith("0:00")


def test_a_final_does_not_wipe_the_utterance_after_it() -> None:
    captions = Captions()
    captions.show(PartialMessage(32_000, 2.0, 2.8, "AND", 0), now=1.0)
    captions.show(HELLO, now=1.1)
    assert shown(captions)[0] == "AND"


def test_an_utterance_without_words_is_wiped_by_the_ack_behind_it() -> None:
    captions = Captions()
    captions.show(PartialMessage(16_000, 1.0, 1.8, "UH", 0), now=1.0)
    captions.show(Ack(40_000, 16_000, 16_000), now=1.0)
    assert shown(captions)[0] == "UH"
    captions.show(Ack(40_000, 32_000, 32_000), now=1.0)
    assert shown(captions)[0].startswith("0:00")


def test_of_a_long_utterance_on_a_small_screen_the_newest_lines_are_shown() -> None:
    captions = Captions()
    words = [f"WORD{n:03}" for n in range(60)]
    captions.show(PartialMessage(0, 0, 9, " ".join(words), 0), now=9.0)
    lines = shown(captions, width=24, height=6)
    assert len(lines) == 5
    assert lines[-2].split()[-1] == "WORD059"


def test_full_width_characters_fill_lines_by_columns_and_get_no_spaces() -> None:
    captions = Captions()
    captions.show(PartialMessage(0, 0, 9, "你好" * 20, 4), now=9.0)
    *lines, _ = shown(captions, width=24)
    assert [len(line) for line in lines] == [12, 12, 12, 4]
    assert "".join(lines) == "你好" * 20


def test_delay_goes_by_the_newest_audio() -> None:
    """A device that runs 1 % slow doesn't make it grow."""
    captions = Captions()
    for k in range(1, 1001):
        captions.hear(quiet(0.1), 0.0, now=k * 0.101)
    captions.show(PartialMessage(0, 90.0, 99.7, "HELLO", 0), now=101.0)
    assert shown(captions)[-1] == "1:40  delay 0.3 s"


def test_a_file_read_faster_than_real_time_has_no_delay() -> None:
    captions = Captions(live=False)
    captions.hear(quiet(60), 0.0, now=0.1)
    captions.show(PartialMessage(0, 0, 1, "HELLO", 0), now=0.2)
    assert shown(captions) == ["HELLO", "1:00"]


@pytest.mark.parametrize(("amplitude", "cells"), [(0, 0), (33, 0), (1036, 6), (32767, 12)])
def test_the_meter_goes_from_60_db_below_full_scale_to_full_scale(amplitude: int, cells: int) -> None:
    captions = Captions(meter=True)
    captions.hear(np.full(1600, amplitude, np.int16), 0.0, now=0.0)
    assert captions.footer("#-").plain == "0:00  " + "#" * cells + "-" * (12 - cells)


def test_lost_audio_is_shown_once_there_is_some() -> None:
    captions = Captions()
    captions.hear(quiet(1), 0.0, now=1.0)
    assert "lost" not in captions.footer("#-").plain
    captions.hear(quiet(1), 0.25, now=2.0)
    assert captions.footer("#-").plain.endswith("0.2 s of audio lost")


def test_a_lost_connection_is_shown_until_there_is_another() -> None:
    captions = Captions()
    captions.hear(quiet(1), 0.0, now=1.0)
    captions.show(PartialMessage(0, 0, 1, "HELLO", 0), now=1.0)
    captions.show(Reconnecting(3, "connection lost", 12.34), now=2.0)
    assert shown(captions) == ["HELLO", "0:01  delay 0.0 s  reconnecting (3): connection lost; 12.3 s kept"]
    footer = captions.footer("#-")
    assert footer.plain[footer.spans[-1].start :].strip() == "reconnecting (3): connection lost; 12.3 s kept"
    assert footer.spans[-1].style == "not dim yellow"
    captions.show(Resumed("ws://h:1", 12.34), now=3.0)
    assert shown(captions) == ["HELLO", "0:01  delay 0.0 s"]


def test_a_server_that_is_not_there_yet_is_shown_until_it_is() -> None:
    captions = Captions()
    captions.hear(quiet(1), 0.0, now=1.0)
    captions.show(Waiting(2, "no server at ws://h:1", 1.0), now=1.0)
    assert shown(captions) == ["0:01  waiting (2), 1.0 s kept: no server at ws://h:1"]
    captions.show(Connected("ws://h:1"), now=1.1)
    assert shown(captions) == ["0:01"]


def test_a_lost_connection_is_drawn_at_once() -> None:
    out = console()
    with Terminal(out) as terminal:
        terminal.show(PartialMessage(0, 0, 1, "HELLO", 0), now=1.0)
        terminal.show(Reconnecting(1, "connection lost", 0.0), now=1.001)
        assert "reconnecting (1)" in written(out)


def test_text_of_a_server_can_not_steer_the_terminal() -> None:
    evil = "\x1b[2JHELLO\r\x07\x9b31m\nWORLD"
    assert printable(evil) == " [2JHELLO   31m WORLD"
    captions = Captions()
    captions.show(PartialMessage(0, 0, 1, evil, 3), now=0.0)
    assert "\x1b[2J" not in "".join(shown(captions))
    assert captions.show(FinalMessage(0, 0, 1, evil, 1.0, 1), now=0.0) == printable(evil)


def test_markup_is_only_text() -> None:
    captions = Captions()
    captions.show(PartialMessage(0, 0, 1, "[bold]HELLO[/bold] :smile:", 0), now=0.0)
    assert shown(captions)[0] == "[bold]HELLO[/bold] :smile:"


@pytest.mark.parametrize(
    ("at", "text"), [(0, "0:00"), (59.99, "0:59"), (61, "1:01"), (3599, "59:59"), (7325, "2:02:05")]
)
def test_elapsed(at: float, text: str) -> None:
    assert elapsed(at) == text


def test_level_of_nothing_and_of_silence() -> None:
    assert level_db(np.zeros(0, np.int16)) == level_db(quiet(1)) == -60


# ---- the loop around it


def play(terminal: Terminal) -> None:
    terminal.hear(quiet(1), 0.0, now=1.0)
    terminal.show(PartialMessage(0, 0.1, 0.8, "HELLO WOR", 5), now=1.2)
    terminal.show(HELLO, now=1.3)


def lines_left(output: str) -> list[str]:
    """What a terminal shows in the end."""
    return TerminalScreen().feed(output).texts


def test_only_finals_are_left_on_the_screen() -> None:
    out = console()
    with Terminal(out) as terminal:
        play(terminal)
        terminal.show(PartialMessage(32_000, 2.0, 2.5, "AND", 0), now=2.8)
    assert isinstance(out.file, StringIO)
    assert "HELLO WOR" in out.file.getvalue()
    assert lines_left(out.file.getvalue()) == ["HELLO WORLD"]


def test_while_it_lasts_finals_stand_above_the_open_utterance() -> None:
    out = console()
    with Terminal(out) as terminal:
        play(terminal)
        terminal.show(PartialMessage(32_000, 2.0, 2.5, "AND THEN", 0), now=2.8)
        assert isinstance(out.file, StringIO)
        assert lines_left(out.file.getvalue()) == ["HELLO WORLD", "AND THEN", "0:01  delay 0.3 s"]


def test_the_screen_is_not_drawn_for_every_block() -> None:
    out = console()
    with Terminal(out) as terminal:
        assert isinstance(out.file, StringIO)
        terminal.hear(quiet(0.1), 0.0, now=5.0)
        drawn = len(out.file.getvalue())
        for _ in range(100):
            terminal.hear(quiet(0.1), 0.0, now=5.01)
        assert len(out.file.getvalue()) == drawn
        terminal.hear(quiet(0.1), 0.0, now=5.1)
        assert len(out.file.getvalue()) > drawn


# ---- which screen


def test_captions_are_for_terminals_and_text() -> None:
    for out, format, kind in (
        (console(), "text", Terminal),
        (console(), "json", JsonLines),
        (console(), "vtt", FinalsOnly),
        (Console(file=StringIO()), "text", FinalsOnly),
        (Console(file=StringIO()), "json", JsonLines),
    ):
        with screen(out, format=format) as shown:
            assert isinstance(shown, kind)


def test_a_format_there_is_not_is_said() -> None:
    with pytest.raises(ConfigError, match="'doc'"), screen(console(), format="doc"):
        pass
