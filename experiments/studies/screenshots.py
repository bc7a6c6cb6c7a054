# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Takes the screenshots of README.md: TensorBoard on a run, and the demo page with its model.

    python experiments/studies/screenshots.py --workdir=runs/quickstart --photograph=FILE

Writes tensorboard.png and demo.png to --output_dir. Needs the extras [demo] and [test], and
Debian's packages `chromium` and `chromium-driver`.
"""

import contextlib
import dataclasses
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from koalagan import cli
from koalagan.errors import UserError
from koalagan.options import option

_SECONDS = 120  # timeout of a page
# The tags that TensorBoard shows.
_TAGS = "^(gray|loss_D$|loss_G$|psnr$|ssim$|colorfulness)"


@dataclasses.dataclass(frozen=True)
class ScreenshotSettings:
    """Screenshots."""

    workdir: str = option("runs/quickstart", "The folder of a finished run.")
    photograph: str = option(None, "The photograph that the demo page colors.", required=True)
    output_dir: str = option("docs/images", "Where the two pictures go.")


def open_browser(profile: str, size: tuple[int, int]) -> webdriver.Chrome:
    """Starts a headless Chromium.

    Args:
        profile: an empty folder.
        size: (width, height) of its window in pixels.

    Raises:
        UserError: Chromium or its driver is not installed.
    """
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if not all(programs.values()):
        raise UserError("chromium or chromedriver is missing: install both.")
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--window-size={size[0]},{size[1]}",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    service = webdriver.ChromeService(programs["chromedriver"])
    return webdriver.Chrome(options=options, service=service)


def wait(browser: webdriver.Chrome, condition: Callable[[webdriver.Chrome], Any]) -> Any:
    """Waits until the condition is true; returns its value."""
    # Elements that are being redrawn are looked up again.
    ignored = [StaleElementReferenceException]
    return WebDriverWait(browser, _SECONDS, ignored_exceptions=ignored).until(condition)


@contextlib.contextmanager
def served(*command: str) -> Iterator[str]:
    """Runs a Python module that serves on --port; yields its address once it responds.

    Raises:
        UserError: it ends early or does not respond.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", *command, f"--port={port}"])
    address = f"http://127.0.0.1:{port}/"
    try:
        end = time.monotonic() + _SECONDS
        while True:
            if server.poll() is not None or time.monotonic() > end:
                raise UserError(f"{' '.join(command)} does not respond at {address}.")
            with contextlib.suppress(OSError):
                urllib.request.urlopen(address, timeout=10).read()
                break
            time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(_SECONDS)


def upload(browser: webdriver.Chrome, address: str, path: str) -> None:
    """Uploads a photograph to the page."""
    browser.get(address)
    field = wait(
        browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#photograph input[type=file]")
    )
    field[0].send_keys(path)


def shown(browser: webdriver.Chrome) -> list | bool:
    """The two pictures of the page's slider once both are loaded, else False."""
    images = browser.find_elements(By.CSS_SELECTOR, "#before_after img")
    loaded = [i for i in images if i.get_property("complete") and i.get_property("naturalWidth")]
    return loaded if len(loaded) >= 2 else False


@contextlib.contextmanager
def _browser(size: tuple[int, int]) -> Iterator[webdriver.Chrome]:
    with tempfile.TemporaryDirectory() as profile:
        browser = open_browser(profile, size)
        try:
            yield browser
        finally:
            browser.quit()


def _tensorboard(folder: Path, workdir: str) -> None:
    module = ("tensorboard.main", f"--logdir={workdir}/tensorboard", "--host=127.0.0.1")
    with served(*module) as address, _browser((1600, 1250)) as browser:
        browser.get(f"{address}?smoothing=0&tagFilter={urllib.parse.quote(_TAGS)}#timeseries")
        wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "image-card img"))
        # The settings pane takes a fifth of the window.
        browser.find_element(By.CSS_SELECTOR, "button[aria-label='Close side pane']").click()
        time.sleep(5)  # charts are drawn when they become visible, without an event
        browser.save_screenshot(str(folder / "tensorboard.png"))


def _demo(folder: Path, workdir: str, photograph: str) -> None:
    page = ("koalagan.demo", f"--saved_model={workdir}/export")
    with served(*page) as address, _browser((1100, 1000)) as browser:
        upload(browser, address, os.path.abspath(photograph))
        wait(browser, shown)
        time.sleep(2)  # the slider's animation
        browser.save_screenshot(str(folder / "demo.png"))


def main(settings: ScreenshotSettings, _: list[str]) -> None:
    """Runs the command."""
    folder = Path(settings.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    _tensorboard(folder, settings.workdir)
    _demo(folder, settings.workdir, settings.photograph)
    print(f"{folder}/tensorboard.png\n{folder}/demo.png")


COMMAND = cli.Command(__doc__, ScreenshotSettings, main)

if __name__ == "__main__":
    cli.run(COMMAND)
