"""A real Chromium, driven through the W3C WebDriver protocol, that hears a recording as its microphone."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM = os.environ.get("EARSHOT_CHROMIUM") or shutil.which("chromium")
CHROMEDRIVER = os.environ.get("EARSHOT_CHROMEDRIVER") or shutil.which("chromedriver")
INSTALL = (
    "needs Chromium and its driver: apt install chromium chromium-driver, or name them in EARSHOT_CHROMIUM and "
    "EARSHOT_CHROMEDRIVER"
)
SECONDS = 60.0
"""Longest wait for anything."""
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--use-fake-device-for-media-stream",
)
ALLOW = "--use-fake-ui-for-media-stream"
"""The microphone is allowed without being asked for."""


class Browser:
    """What tests do with a page."""

    def __init__(self, driver: webdriver.Chrome, downloads: Path) -> None:
        self.driver = driver
        self.downloads = downloads

    def open(self, url: str) -> None:
        self.driver.get(url)

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        self.find(selector).click()

    def text(self, selector: str) -> str:
        """What the element says, also where a person would have to scroll to it."""
        return "".join(self.texts(selector))

    def texts(self, selector: str) -> list[str]:
        """What each of the elements says."""
        script = "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)"
        return [str(text) for text in self.run(script, selector)]

    def finals(self) -> list[str]:
        """The lines of the page that are final."""
        return self.texts("#finals p > span")

    def run(self, script: str, *values: Any) -> Any:
        """What JavaScript returns."""
        return self.driver.execute_script(script, *values)

    def run_module(self, script: str, *values: Any) -> Any:
        """What an async function of this body returns; the values are in `values`. Fails with what it throws."""
        body = f"""
            const done = arguments[arguments.length - 1], values = [...arguments].slice(0, -1);
            const run = async () => {{ {script} }};
            run().then((value) => done({{ value }}), (error) => done({{ error: `${{error.name}}: ${{error.stack}}` }}));
        """
        answer = self.driver.execute_async_script(body, *values)
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    def until(self, condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
        """Waits until it is so; what it returned."""
        return WebDriverWait(self.driver, seconds, 0.1).until(lambda _: condition(), what)

    def complaints(self) -> list[str]:
        """What the browser says of mistakes in the page since the last call."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def resize(self, width: int, height: int) -> None:
        """The page's own size, also where it is narrower than a window can be."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", **metrics)

    def command(self, name: str, **values: Any) -> Any:
        """A command of Chromium's own protocol."""
        return self.driver.execute_cdp_cmd(name, values)


@contextmanager
def chromium(folder: Path, *arguments: str, microphone: Path | None = None) -> Iterator[Browser]:
    """A browser with a new profile. microphone: a WAV file that it hears once; else it beeps."""
    if CHROMIUM is None or CHROMEDRIVER is None:
        pytest.skip(INSTALL)
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS, *arguments):
        options.add_argument(argument)
    if microphone is not None:
        options.add_argument(f"--use-file-for-fake-audio-capture={microphone}%noloop")
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
    driver.set_script_timeout(SECONDS)
    try:
        yield Browser(driver, folder)
    finally:
        driver.quit()
