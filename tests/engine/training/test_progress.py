"""One line on a terminal, lines now and then elsewhere."""

from io import StringIO

from earshot_asr.engine.training.progress import Progress, duration


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_gets_lines_now_and_then() -> None:
    stream = StringIO()
    progress = Progress(stream=stream)
    for step in range(3):
        progress.show(step, 0.25, 60.0, {"loss": 0.12345, "dev": "30.1"})
    progress.show(3, 0.5, 60.0, {}, force=True)
    progress.close()
    assert stream.getvalue() == "step 0   25%  loss 0.123  dev 30.1  3 min left\nstep 3   50%  60 s left\n"


def test_a_terminal_gets_one_line_that_is_written_again() -> None:
    stream = Terminal()
    progress = Progress(stream=stream)
    progress.show(1, 0.1, 1.0, {})
    progress.show(2, 0.2, 1.0, {}, force=True)
    progress.say("a line")
    progress.show(3, 0.3, 1.0, {}, force=True)
    progress.close()
    assert stream.getvalue().count("\n") == 2
    assert stream.getvalue().count("\r\x1b[2K") == 4


def test_others_say_nothing() -> None:
    stream = StringIO()
    progress = Progress(quiet=True, stream=stream)
    progress.show(1, 0.1, 1.0, {}, force=True)
    progress.say("a line")
    progress.close()
    assert stream.getvalue() == ""


def test_durations() -> None:
    assert [duration(s) for s in (0, 89, 90, 3570, 3600, 40000)] == [
        "0 s",
        "89 s",
        "2 min",
        "1 h 00 min",
        "1 h 00 min",
        "11 h 07 min",
    ]
