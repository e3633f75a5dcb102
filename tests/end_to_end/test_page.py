"""The caption page in a real Chromium, whose microphone hears a recording, with the bundled model behind it."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile
from selenium.webdriver import ActionChains, Keys

from earshot_asr.engine.loading import load_runner
from earshot_asr.engine.model import BUNDLED, Runner
from earshot_asr.engine.text import normalize
from tests.helpers import FakeRunner
from tests.server.page.browser import ALLOW, Browser, chromium
from tests.server.page.threaded import Served, served

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
DEMO = ROOT / "earshot_asr" / "client" / "data" / "demo.flac"
SAID = (DEMO.parent / "demo.txt").read_text().split()
HIGHEST_CER = 0.10
STRICT = """
    window.AudioContext = class extends AudioContext {
        constructor(options) {
            super(options);
            this.suspend();
        }
        resume() {
            return navigator.userActivation.hasBeenActive ? super.resume() : new Promise(() => {});
        }
    };
"""
"""Audio as in browsers that want a click first, also for pages that use the microphone."""
TOKEN = "open/sesame=0123456789"
"""With characters that a sub-protocol may not have."""


@pytest.fixture(scope="module")
def runner() -> Runner:
    if not (BUNDLED / "model.safetensors").exists():
        pytest.skip("needs the bundled model")
    return load_runner(device="cpu")


@pytest.fixture(scope="module")
def server(runner: Runner) -> Iterator[Served]:
    with served(runner) as server:
        yield server


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording of the demo, between half a second and three of silence."""
    pcm, rate = soundfile.read(DEMO, dtype="int16")
    path = tmp_path_factory.mktemp("microphone") / "demo.wav"
    soundfile.write(path, np.concatenate([np.zeros(rate // 2, np.int16), pcm, np.zeros(3 * rate, np.int16)]), rate)
    return path


@contextmanager
def page(folder: Path, microphone: Path | None, *arguments: str) -> Iterator[Browser]:
    """A browser of a person who allows the microphone. The page must not have made a mistake by the end."""
    with chromium(folder, ALLOW, *arguments, microphone=microphone) as browser:
        yield browser
        assert browser.complaints() == []


def visit(browser: Browser, url: str) -> None:
    browser.open(url)
    browser.until(lambda: browser.find("#go").is_enabled(), "the page")


def start(browser: Browser, url: str) -> None:
    visit(browser, f"{url}/")
    browser.click("#go")


def state(browser: Browser) -> str:
    return browser.text("#state-text")


def until_said(browser: Browser, lines: int) -> None:
    browser.until(lambda: len(browser.finals()) >= lines, f"{lines} final lines")


def pause(browser: Browser) -> None:
    browser.click("#go")
    browser.until(lambda: state(browser) == "Paused", "the end of the stream")


def cer(lines: Sequence[str]) -> float:
    return float(jiwer.cer(normalize(" ".join(SAID)), normalize(" ".join(lines))))


def saved(browser: Browser, kind: str) -> str:
    browser.click(f"#save-{kind}")
    (path,) = browser.until(lambda: list(browser.downloads.glob(f"*.{kind}")), f"a file .{kind}")
    return str(path.read_text())


# ---- a person speaks


def test_captions_appear_and_are_saved(server: Served, microphone: Path, tmp_path: Path) -> None:
    with page(tmp_path, microphone) as browser:
        start(browser, server.url)
        growing = browser.until(lambda: browser.text("#open-rest"), "text that is not final")
        assert growing[0] == growing[0].upper() and growing.lower()[1:] == growing[1:]  # in sentence case
        assert state(browser) == "Listening"
        assert browser.until(lambda: browser.text("#delay"), "the delay").endswith("s behind")
        browser.until(lambda: int(browser.find("#level").get_attribute("aria-valuenow") or -60) > -50, "the level")
        until_said(browser, 3)
        pause(browser)
        lines = browser.finals()
        assert cer(lines) < HIGHEST_CER
        assert [line[0] for line in lines] == [line[0].upper() for line in lines]
        assert saved(browser, "txt").splitlines() == lines
        check_cues(saved(browser, "srt").replace(",", "."), lines)
        vtt = saved(browser, "vtt")
        assert vtt.startswith("WEBVTT\n\n")
        check_cues(vtt.removeprefix("WEBVTT\n\n"), lines)


def check_cues(text: str, lines: Sequence[str]) -> None:
    """All words in order, at times that belong to the recording."""
    cues = [cue.removeprefix(f"{n}\n").split("\n") for n, cue in enumerate(text.strip().split("\n\n"), 1)]
    assert " ".join(" ".join(cue[1:]) for cue in cues) == " ".join(lines)
    times = [clock(each) for cue in cues for each in cue[0].split(" --> ")]
    assert times == sorted(times)
    assert 0.3 < times[0] < 2 and 10 < times[-1] < 16


def clock(text: str) -> float:
    hours, minutes, seconds = text.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def test_what_is_said_after_a_pause_follows(server: Served, microphone: Path, tmp_path: Path) -> None:
    """Its times go on where they stood; the microphone hears the recording from its beginning again."""
    with page(tmp_path, microphone) as browser:
        start(browser, server.url)
        until_said(browser, 1)
        pause(browser)
        assert browser.text("#go-text") == "Continue"
        (before,) = [clock("0:" + each) for each in browser.texts("#finals p:last-of-type time")][-1:]
        count = len(browser.finals())
        browser.click("#go")
        until_said(browser, count + 1)
        (after,) = [clock("0:" + each) for each in browser.texts("#finals p:last-of-type time")][-1:]
        assert after > before
        pause(browser)
        browser.until(lambda: not server.server.connections, "the place is given up")
        srt = saved(browser, "srt")
        times = [clock(each) for each in re.findall(r"\d\d:\d\d:\d\d\.\d{3}", srt.replace(",", "."))]
        assert times == sorted(times)


def test_captions_are_copied_and_cleared(server: Served, microphone: Path, tmp_path: Path) -> None:
    with page(tmp_path, microphone) as browser:
        start(browser, server.url)
        until_said(browser, 1)
        pause(browser)
        lines = browser.finals()
        permission = {"origin": server.url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
        browser.command("Browser.grantPermissions", **permission)
        browser.click("#copy")
        browser.until(lambda: browser.text("#note") == "Copied.", "the note")
        assert browser.run_module("return navigator.clipboard.readText()").splitlines() == lines
        browser.click("#clear")
        browser.click("#sure [value=cancel]")
        assert browser.finals() == lines
        browser.click("#clear")
        browser.click("#sure [value=clear]")
        browser.until(lambda: not browser.finals(), "an empty page")
        assert browser.find("#empty").is_displayed() and not browser.find("#copy").is_enabled()
        assert browser.text("#go-text") == "Start"


# ---- a server that goes


@contextmanager
def command(port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """`earshot serve` at a port, ready."""
    code = "from earshot_asr.client.cli import main; main()"
    options = ["--port", str(port), "--device", "cpu", "--streams", "4"]
    process = subprocess.Popen([sys.executable, "-c", code, "serve", *options], stderr=subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stderr
        while b"listening at" not in process.stderr.readline():
            assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_restarts_in_mid_sentence_loses_no_word(
    microphone: Path, tmp_path: Path, unused_tcp_port: int, how: signal.Signals
) -> None:
    url = f"http://localhost:{unused_tcp_port}"
    with chromium(tmp_path, ALLOW, microphone=microphone) as browser:
        with command(unused_tcp_port) as victim:
            start(browser, url)
            until_said(browser, 1)
            browser.until(lambda: len(browser.text("#open").split()) >= 3, "a second sentence")
            victim.send_signal(how)
            victim.wait()
        browser.until(lambda: state(browser) == "Reconnecting", "the loss")
        assert "kept" in browser.text("#note")
        with command(unused_tcp_port):
            browser.until(lambda: state(browser) == "Listening", "the new server")
            assert browser.text("#note") == "Connected again; nothing is lost."
            until_said(browser, 3)
            pause(browser)
        assert cer(browser.finals()) < HIGHEST_CER
        assert browser.text("#lost") == ""


# ---- recordings


def test_a_file_is_transcribed(server: Served, tmp_path: Path) -> None:
    with page(tmp_path, None) as browser:
        visit(browser, f"{server.url}/")
        browser.find("#file").send_keys(str(DEMO))
        browser.until(lambda: state(browser) == "Done", "the end of the file")
        assert cer(browser.finals()) < HIGHEST_CER
        check_cues(saved(browser, "srt").replace(",", "."), browser.finals())


DROP = """
    const data = new DataTransfer();
    data.items.add(new File([await (await fetch(values[0])).blob()], "talk"));
    const drop = (type) => window.dispatchEvent(new DragEvent(type, { dataTransfer: data, cancelable: true }));
    drop("dragover");
    const shown = !document.getElementById("drop").hidden;
    drop("drop");
    return shown;
"""


def test_a_file_is_dropped_and_one_that_is_none_is_refused(server: Served, tmp_path: Path) -> None:
    with page(tmp_path, None) as browser:
        visit(browser, f"{server.url}/")
        assert browser.run_module(DROP, "/page/page.css")
        browser.until(lambda: browser.find("#problem").is_displayed(), "the complaint")
        assert browser.text("#problem-title") == "The file can't be read"
        assert browser.find("#problem").get_attribute("role") == "alert"
        browser.click("#problem-close")
        assert not browser.find("#problem").is_displayed()


def test_a_file_can_be_called_off(tmp_path: Path) -> None:
    """An hour of silence, of which not all comes to the server."""
    path = tmp_path / "hour.wav"
    soundfile.write(path, np.zeros(8000 * 3600, np.int16), 8000)
    with served(FakeRunner()) as server, page(tmp_path, None) as browser:
        visit(browser, f"{server.url}/")
        browser.find("#file").send_keys(str(path))
        browser.until(lambda: browser.text("#delay").endswith("of 1:00:00"), "progress")
        browser.click("#go")
        browser.until(lambda: state(browser) == "Done", "the end")
        browser.until(lambda: not server.server.connections, "the place is given up")


# ---- microphones and pages that are not allowed


def test_a_microphone_that_is_refused(tmp_path: Path) -> None:
    with served(FakeRunner()) as server, chromium(tmp_path) as browser:
        denied = {"name": "microphone"}
        browser.command("Browser.setPermission", permission=denied, setting="denied", origin=server.url)
        start(browser, server.url)
        browser.until(lambda: browser.find("#problem").is_displayed(), "the complaint")
        assert browser.text("#problem-title") == "The microphone was refused"
        assert "Allow it" in browser.text("#problem-text")
        assert browser.text("#go-text") == "Start"
        assert not server.server.connections  # it was not troubled
        browser.command("Browser.setPermission", permission=denied, setting="granted", origin=server.url)
        browser.click("#go")
        browser.until(lambda: state(browser) == "Listening", "the second try")
        assert not browser.find("#problem").is_displayed()


def test_no_microphone(server: Served, tmp_path: Path) -> None:
    with chromium(tmp_path, ALLOW, "--use-fake-device-for-media-stream=device-count=0") as browser:
        visit(browser, f"{server.url}/")
        browser.run("""
            const { mediaDevices } = navigator;
            mediaDevices.getUserMedia = () => Promise.reject(new DOMException("none", "NotFoundError"));
        """)
        browser.click("#go")
        browser.until(lambda: browser.text("#problem-title") == "There is no microphone", "the complaint")


def test_a_microphone_that_is_unplugged_is_waited_for(tmp_path: Path) -> None:
    with served(FakeRunner()) as server, page(tmp_path, None) as browser:
        visit(browser, f"{server.url}/")
        browser.run("""
            const { mediaDevices } = navigator, open = mediaDevices.getUserMedia.bind(mediaDevices);
            mediaDevices.getUserMedia = async (wanted) => {
                if (window.unplugged) throw new DOMException("none", "NotFoundError");
                window.media = await open(wanted);
                return window.media;
            };
        """)
        browser.click("#go")
        browser.until(lambda: state(browser) == "Listening" and browser.text("#elapsed") >= "0:01", "audio")
        browser.run("window.unplugged = true; window.media.getTracks()[0].dispatchEvent(new Event('ended'))")
        browser.until(lambda: state(browser).startswith("The microphone is unplugged"), "the loss")
        before = browser.text("#elapsed")
        browser.until(lambda: browser.text("#elapsed") > before, "time that goes on")
        browser.run("window.unplugged = false")
        browser.until(lambda: state(browser) == "Listening", "the return")
        assert browser.text("#lost").endswith("s not heard")


def test_a_browser_that_wants_a_click_first_is_given_one(tmp_path: Path) -> None:
    with served(FakeRunner()) as server, page(tmp_path, None) as browser:
        browser.command("Page.addScriptToEvaluateOnNewDocument", source=STRICT)
        browser.open(f"{server.url}/?overlay=1")
        browser.until(lambda: "Click" in browser.text("#overlay .trouble"), "the request")
        assert not server.server.connections
        browser.click("body")
        browser.until(lambda: server.server.connections, "the stream")
        assert not browser.text("#overlay .trouble")


def test_a_page_that_is_not_secure_has_no_microphone_but_files(runner: Runner, tmp_path: Path) -> None:
    rules = "--host-resolver-rules=MAP captions.example 127.0.0.1"
    with served(runner, allow_host=("captions.example",)) as server, page(tmp_path, None, rules) as browser:
        start(browser, server.url.replace("localhost", "captions.example"))
        browser.until(lambda: browser.find("#problem").is_displayed(), "the complaint")
        sentence = browser.text("#problem-text")
        assert f"http://localhost:{server.server.port}" in sentence and "--tls-cert" in sentence
        browser.find("#file").send_keys(str(DEMO))
        browser.until(lambda: state(browser) == "Done", "the end of the file")
        assert cer(browser.finals()) < HIGHEST_CER


# ---- tokens


def test_a_token_is_asked_for_and_remembered(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{TOKEN} anna - -\n")
    tokens.chmod(0o600)
    with served(FakeRunner(), token_file=str(tokens)) as server, chromium(tmp_path, ALLOW) as browser:
        start(browser, server.url)
        give(browser, "This server wants a token", "wrong-0123456789")
        give(browser, "The server does not know this token", TOKEN)
        browser.until(lambda: state(browser) == "Listening" and server.server.connections, "the stream")
        browser.open("about:blank")
        start(browser, server.url)
        browser.until(lambda: state(browser) == "Listening" and server.server.connections, "the stream")
        browser.run("sessionStorage.clear()")
        browser.open("about:blank")
        visit(browser, f"{server.url}/#token={TOKEN}")
        assert browser.run("return location.href") == f"{server.url}/"  # nobody sees it over one's shoulder
        browser.click("#go")
        browser.until(lambda: state(browser) == "Listening" and server.server.connections, "the stream")


def give(browser: Browser, title: str, token: str) -> None:
    browser.until(lambda: browser.find("#token").is_displayed() and browser.text("#token-title") == title, title)
    browser.find("#token [name=token]").send_keys(token)
    browser.click("#token [value=use]")


# ---- the overlay


def lines_shown(browser: Browser) -> list[str]:
    """The lines within the window of the overlay."""
    return [str(line) for line in browser.run("""
        const frame = document.querySelector("#overlay .window").getBoundingClientRect();
        return [...document.querySelectorAll("#overlay .line")].filter((line) => {
            const { top, bottom } = line.getBoundingClientRect();
            return top >= frame.top - 1 && bottom <= frame.bottom + 1;
        }).map((line) => line.textContent);
    """)]  # fmt: skip


def test_the_overlay_shows_two_lines_that_do_not_jump(server: Served, microphone: Path, tmp_path: Path) -> None:
    with page(tmp_path, microphone) as browser:
        browser.resize(1280, 720)
        browser.open(f"{server.url}/?overlay=1&size=40&color=ff0&linger=8")
        browser.until(lambda: browser.texts("#overlay .line"), "captions")
        seen = [browser.texts("#overlay .line")]

        def look() -> bool:
            seen.append(browser.texts("#overlay .line"))
            assert len(lines_shown(browser)) <= 2
            return not seen[-1]

        browser.until(look, "silence, which clears the lines")
        assert len(seen[-2]) >= 5 and cer(seen[-2]) < HIGHEST_CER
        assert all(len(before) <= len(after) for before, after in pairwise(seen[:-1]))
        style = browser.run("""
            const overlay = document.getElementById("overlay");
            return [getComputedStyle(document.body).backgroundColor, getComputedStyle(overlay).color,
                    getComputedStyle(overlay).fontSize, document.querySelector("footer").offsetHeight];
        """)
        assert style == ["rgba(0, 0, 0, 0)", "rgb(255, 255, 0)", "40px", 0]


def test_the_overlay_says_in_a_line_what_is_wrong(server: Served, tmp_path: Path) -> None:
    with chromium(tmp_path, ALLOW) as browser:
        browser.open(f"{server.url}/?overlay=1&device=Nonexistent&lines=x&color=url(x)&position=left")
        trouble = browser.until(lambda: browser.text("#overlay .trouble"), "the complaint")
        assert "Nonexistent" in trouble and "\n" not in trouble
        assert browser.find("#overlay").get_attribute("data-position") == "bottom"


def test_the_overlay_takes_the_microphone_that_is_named(server: Served, tmp_path: Path) -> None:
    with page(tmp_path, None) as browser:
        browser.open(f"{server.url}/?overlay=1&device=fake%20audio%20input%202")
        browser.until(lambda: server.server.connections, "the stream")
        assert not browser.text("#overlay .trouble")


# ---- everybody can use it


def test_a_keyboard_is_enough(server: Served, microphone: Path, tmp_path: Path) -> None:
    """All controls are reached by Tab, in order, and named; Enter starts; Escape closes a dialog."""
    with page(tmp_path, microphone) as browser:
        visit(browser, f"{server.url}/")

        def press(key: str) -> None:
            ActionChains(browser.driver).send_keys(key).perform()

        reached = []
        for _ in range(12):
            press(Keys.TAB)
            reached.append(browser.run("return document.activeElement.id"))
        wanted = ["theme-switch", "open-settings", "open-help", "choose-file", "go", "device"]
        assert [each for each in reached if each in wanted][: len(wanted)] == wanted
        browser.run("document.getElementById('open-settings').focus()")
        press(Keys.ENTER)
        assert browser.find("#settings").is_displayed()
        press(Keys.ESCAPE)
        assert not browser.find("#settings").is_displayed()
        assert browser.run("return document.activeElement.id") == "open-settings"
        browser.run("document.getElementById('go').focus()")
        press(Keys.ENTER)
        until_said(browser, 1)
        pause(browser)


NAMES = """
    const unnamed = [...document.querySelectorAll("button, select, input, textarea, a, [role=meter], progress, dialog")]
        .filter((each) => each.id !== "file")
        .filter((each) => !(each.ariaLabel || each.textContent.trim() || each.labels?.length))
        .filter((each) => !each.hasAttribute("aria-labelledby"));
    return unnamed.map((each) => each.outerHTML.slice(0, 80));
"""


def test_a_screen_reader_hears_finals_once(server: Served, microphone: Path, tmp_path: Path) -> None:
    with page(tmp_path, microphone) as browser:
        start(browser, server.url)
        until_said(browser, 1)
        assert browser.find("#finals").get_attribute("aria-live") == "polite"
        assert browser.find("#open").get_attribute("aria-live") == "off"
        assert (
            browser.run("return document.getElementById('finals').contains(document.getElementById('open'))") is False
        )
        first = browser.run("return document.querySelector('#finals p')")
        until_said(browser, 2)
        assert browser.run("return document.querySelector('#finals p')") == first  # it is not drawn, or read, again
        assert browser.run(NAMES) == []


CONTRASTS = """
    const parse = (color) => color.match(/[\\d.]+/g).map(Number);
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
    const ground = (each) => {
        for (let at = each; at; at = at.parentElement) {
            const color = parse(getComputedStyle(at).backgroundColor);
            if (color.length === 3 || color[3] > 0) return color;
        }
    };
    const speaks = (each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const low = [];
    for (const each of document.querySelectorAll("body *")) {
        if (!each.checkVisibility() || each.disabled || !speaks(each) || each.closest(".unseen, script")) continue;
        const [one, other] = [light(parse(getComputedStyle(each).color)), light(ground(each))].sort((a, b) => b - a);
        const ratio = (one + 0.05) / (other + 0.05);
        if (ratio < 4.5) low.push([each.id || each.className || each.tagName, Math.round(ratio * 100) / 100]);
    }
    return low;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(server: Served, microphone: Path, tmp_path: Path, scheme: str) -> None:
    """Contrast of 4.5 and more (WCAG AA), in either scheme of the system, with captions and with each dialog open."""
    with page(tmp_path, microphone) as browser:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.command("Emulation.setEmulatedMedia", features=features)
        start(browser, server.url)
        assert browser.run("return document.documentElement.dataset.theme") == scheme
        browser.until(lambda: browser.text("#open-rest"), "text that is not final")
        assert browser.run(CONTRASTS) == []
        pause(browser)
        for dialog in ("settings", "help"):
            browser.click(f"#open-{dialog}")
            assert browser.run(CONTRASTS) == []
            browser.click(f"#{dialog} .primary")


def test_the_choice_of_colours_outlives_the_page(server: Served, tmp_path: Path) -> None:
    with page(tmp_path, None) as browser:
        visit(browser, f"{server.url}/")
        before = browser.run("return document.documentElement.dataset.theme")
        browser.click("#theme-switch")
        after = browser.run("return document.documentElement.dataset.theme")
        assert {before, after} == {"light", "dark"}
        visit(browser, f"{server.url}/")
        assert browser.run("return document.documentElement.dataset.theme") == after


OUTSIDE = """
    const isOut = ({ left, right, width }) => width && (left < -0.5 || right > innerWidth + 0.5);
    return [...document.querySelectorAll("header *, footer *, main *")]
        .filter((each) => isOut(each.getBoundingClientRect()) && each.checkVisibility())
        .filter((each) => !each.closest(".unseen, .level"))
        .map((each) => each.id || each.outerHTML.slice(0, 60));
"""


@pytest.mark.parametrize(("width", "height"), [(375, 667), (320, 568), (1280, 800)])
def test_nothing_is_cut_off(server: Served, microphone: Path, tmp_path: Path, width: int, height: int) -> None:
    with page(tmp_path, microphone) as browser:
        browser.resize(width, height)
        start(browser, server.url)
        until_said(browser, 1)
        assert browser.run(
            "return document.documentElement.scrollWidth <= innerWidth && document.body.scrollWidth <= innerWidth"
        )
        assert browser.run(OUTSIDE) == []
        pause(browser)
