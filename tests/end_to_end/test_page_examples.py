"""The examples of server/page/README.md, each in a page of another origin, as a programmer would have it."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import jiwer
import pytest

from earshot_asr.engine.loading import load_runner
from earshot_asr.engine.model import BUNDLED, Runner
from earshot_asr.engine.text import normalize
from tests.end_to_end.test_page import DEMO, HIGHEST_CER, SAID, microphone
from tests.server.page.browser import ALLOW, Browser, chromium
from tests.server.page.threaded import served

__all__ = ["microphone"]
pytestmark = pytest.mark.slow
README = Path(__file__).parents[2] / "server" / "page" / "README.md"
EXAMPLES = re.findall(r"```js\n(.*?)```", README.read_text(), re.DOTALL)
BLOCKS = """
    async function* myBlocks() {
        const data = await (await fetch("/demo.flac")).arrayBuffer();
        const samples = (await new OfflineAudioContext(1, 1, 48000).decodeAudioData(data)).getChannelData(0);
        for (let at = 0; at < samples.length; at += 4096) yield samples.subarray(at, at + 4096);
    }
    console.log = (...values) => document.querySelector("pre").append(values.at(-1), "\\n");
"""


@pytest.fixture(scope="module")
def runner() -> Runner:
    if not (BUNDLED / "model.safetensors").exists():
        pytest.skip("needs the bundled model")
    return load_runner(device="cpu")


class OwnPage(BaseHTTPRequestHandler):
    """A page with an example in it, and the recording."""

    example: ClassVar[str] = ""

    def do_GET(self) -> None:
        own = f"<script>{BLOCKS}</script><script type=module>{self.example}</script>"
        page = f"<!doctype html><input type=file><button>Stop</button><output></output><pre></pre>{own}".encode()
        body, kind = (DEMO.read_bytes(), "audio/flac") if self.path == "/demo.flac" else (page, "text/html")
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


@contextmanager
def own_page(runner: Runner, example: str, browser: Browser) -> Iterator[str]:
    """Opens it, at a server that lets its origin in. Yields that origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), OwnPage) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        origin = f"http://localhost:{site.server_port}"
        with served(runner, origin=(origin,)) as server:
            OwnPage.example = example.replace("localhost:8765", f"localhost:{server.server.port}")
            browser.open(origin)
            yield origin
        site.shutdown()
        thread.join()


def assert_said(text: str) -> None:
    assert jiwer.cer(normalize(" ".join(SAID)), normalize(text)) < HIGHEST_CER


def test_there_are_three_of_ten_lines_or_so() -> None:
    assert len(EXAMPLES) == 3
    assert all(len(example.splitlines()) <= 14 for example in EXAMPLES)


def test_a_file(runner: Runner, tmp_path: Path) -> None:
    with chromium(tmp_path) as browser, own_page(runner, EXAMPLES[0], browser):
        browser.find("input").send_keys(str(DEMO))
        browser.until(lambda: browser.text("output").count("\n") >= 3, "three lines")
        assert_said(browser.text("output"))


def test_the_microphone(runner: Runner, tmp_path: Path, microphone: Path) -> None:
    with chromium(tmp_path, ALLOW, microphone=microphone) as browser, own_page(runner, EXAMPLES[1], browser):
        browser.until(lambda: browser.text("output"), "what is not final")
        browser.until(lambda: browser.text("pre").count("\n") >= 3, "three lines")
        browser.click("button")
        assert_said(browser.text("pre"))


def test_audio_of_ones_own(runner: Runner, tmp_path: Path) -> None:
    with chromium(tmp_path) as browser, own_page(runner, EXAMPLES[2], browser):
        browser.until(lambda: browser.text("pre").count("\n") >= 3, "three lines")
        assert_said(browser.text("pre"))
