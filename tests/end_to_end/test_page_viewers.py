"""One speaks in a browser, others read along in theirs: also late, over a server that restarts, and on a projector."""

from pathlib import Path

import pytest

from earshot_asr.engine.audio import SAMPLE_RATE
from earshot_asr.engine.events import Final
from earshot_asr.server.channels import Speaker
from tests.server.page.browser import ALLOW, chromium
from tests.server.page.threaded import Served, served

pytestmark = pytest.mark.slow


def final(text: str, at: float) -> Final:
    return Final(round(at * SAMPLE_RATE), at, at + 1, text, 0.9, (), round((at + 2) * SAMPLE_RATE))


def speaks(one: Served, *texts: str, leave: bool = False) -> None:
    """A stream that says so in the channel `stage`, and may end."""

    def act() -> None:
        speaker: Speaker = one.server.channels.publish("stage", resumed=False, language="en")
        for second, text in enumerate(texts):
            speaker.tell(final(text, 3.0 * second))
        if leave:
            speaker.close()

    one.call(act)


def test_viewers_read_what_is_said_in_order_and_once(tmp_path: Path) -> None:
    with served() as one, chromium(tmp_path) as viewer:
        viewer.open(f"{one.url}/?watch=stage")
        viewer.until(lambda: viewer.text("#state-text") == "Nobody is speaking", "the channel")
        assert not viewer.find("#go").is_displayed() and not viewer.find("#device").is_displayed()
        speaks(one, "I HEAR", "YOU", leave=True)
        viewer.until(lambda: viewer.finals() == ["I hear", "You"], "two lines")
        assert viewer.text("#state-text") == "Nobody is speaking"
        speaks(one, "AGAIN")
        viewer.until(lambda: viewer.text("#state-text") == "Live", "the second stream")
        viewer.until(lambda: viewer.finals() == ["I hear", "You", "Again"], "its line")
        for connection in one.server.channels.all():
            one.call(connection.abort)
        viewer.until(lambda: viewer.text("#state-text") == "Live", "the connection")
        assert viewer.finals() == ["I hear", "You", "Again"]
        viewer.click("#save-txt")
        viewer.until(lambda: list(viewer.downloads.glob("*.txt")), "the file")
        (saved,) = viewer.downloads.glob("*.txt")
        assert saved.read_text(encoding="utf-8") == "I hear\nYou\nAgain\n"
        assert viewer.complaints() == []


def test_who_comes_late_reads_what_was_said(tmp_path: Path) -> None:
    with served() as one, chromium(tmp_path) as viewer:
        viewer.open(f"{one.url}/?watch=stage")  # keeps the channel
        viewer.until(lambda: viewer.text("#state-text") == "Nobody is speaking", "the channel")
        speaks(one, "ONE", "TWO")
        viewer.until(lambda: viewer.finals() == ["One", "Two"], "two lines")
        viewer.open(f"{one.url}/?overlay=1&watch=stage")
        viewer.until(lambda: viewer.texts("#overlay .line span") == ["One", "Two"], "the overlay")
        viewer.open(f"{one.url}/?watch=elsewhere")
        viewer.until(lambda: viewer.text("#state-text") == "Nobody is speaking", "another channel")
        assert viewer.finals() == []


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    path.write_text("viewer-0123456789 hall 0 -\n", encoding="utf-8")
    path.chmod(0o600)
    with served(token_file=str(path)) as one, chromium(tmp_path) as viewer:
        viewer.open(f"{one.url}/?watch=stage")
        viewer.until(lambda: viewer.find("#token").is_displayed(), "the question")
        viewer.find("#token input[name=token]").send_keys("viewer-0123456789")
        viewer.click("#token .primary")
        viewer.until(lambda: viewer.text("#state-text") == "Nobody is speaking", "the channel")


def test_the_page_publishes_what_its_microphone_hears(tmp_path: Path) -> None:
    """With the fake encoder, which hears letters in the beeps of Chromium's fake microphone."""
    with served() as one, chromium(tmp_path, ALLOW) as speaker:
        speaker.open(f"{one.url}/")
        speaker.until(lambda: speaker.find("#go").is_enabled(), "the page")
        speaker.click("#open-settings")
        speaker.find("#settings input[name=publish]").send_keys("stage")
        speaker.click("#settings .primary")
        speaker.click("#go")
        speaker.until(lambda: "stage" in published(one), "the channel")
        assert speaker.complaints() == []


def published(one: Served) -> list[str]:
    return [name for name, channel in one.server.channels._channels.items() if channel.speaker]
