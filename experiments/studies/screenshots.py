# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Takes README's screenshots in a real browser: TensorBoard on a run, and the page with its model.

    python experiments/screenshots.py --workdir=runs/quickstart --photograph=FILE --output_dir=DIR

Writes tensorboard.png and demo.png. Needs the extras [demo] and [test], and Debian's `chromium`
and `chromium-driver`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from koalagan import errors
from koalagan.errors import UserError

_SECONDS = 120  # that a page may take
_TAGS = "^(grey|loss_D$|loss_G$|psnr$|ssim$|colorfulness)"  # that TensorBoard shows


def open_browser(profile: str, size: tuple[int, int]) -> webdriver.Chrome:
    """A headless Chromium.

    Args:
        profile: an empty folder.
        size: (width, height) of its window in pixels.

    Raises:
        UserError: there is none on this machine.
    """
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if not all(programs.values()):
        raise UserError("there is no chromium with its chromedriver: install both.")
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
    """What the condition gives as soon as it is true."""
    # What is being drawn anew is looked for again.
    ignored = [StaleElementReferenceException]
    return WebDriverWait(browser, _SECONDS, ignored_exceptions=ignored).until(condition)


@contextlib.contextmanager
def served(*command: str) -> Iterator[str]:
    """Runs a Python module that serves on --port, and ends it; its address, once it answers.

    Raises:
        UserError: it ends before, or does not answer.
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
                raise UserError(f"{' '.join(command)} does not serve at {address}.")
            with contextlib.suppress(OSError):
                urllib.request.urlopen(address, timeout=10).read()
                break
            time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(_SECONDS)


def upload(browser: webdriver.Chrome, address: str, path: str) -> None:
    """Drops a photograph on the page."""
    browser.get(address)
    field = wait(
        browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#photograph input[type=file]")
    )
    field[0].send_keys(path)


def shown(browser: webdriver.Chrome) -> list | bool:
    """The two pictures of the page's slider, once both are loaded."""
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
        # The pane of settings takes a fifth of the window.
        browser.find_element(By.CSS_SELECTOR, "button[aria-label='Close side pane']").click()
        time.sleep(5)  # charts are drawn as they come into sight, and do not say when they are
        browser.save_screenshot(str(folder / "tensorboard.png"))


def _demo(folder: Path, workdir: str, photograph: str) -> None:
    page = ("koalagan.demo", f"--saved_model={workdir}/export")
    with served(*page) as address, _browser((1100, 1000)) as browser:
        upload(browser, address, os.path.abspath(photograph))
        wait(browser, shown)
        time.sleep(2)  # the slider moves to its place
        browser.save_screenshot(str(folder / "demo.png"))


def main(argv: Sequence[str]) -> None:
    """Runs the command line."""
    if len(argv) > 1:
        raise UserError(f"screenshots takes only flags, and {argv[1]!r} is none: see --help.")
    given = flags.FLAGS
    folder = Path(given.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    _tensorboard(folder, given.workdir)
    _demo(folder, given.workdir, given.photograph)
    print(f"{folder}/tensorboard.png\n{folder}/demo.png")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "runs/quickstart", "The folder of a finished run.")
    flags.DEFINE_string("photograph", None, "What the page is shown with.", required=True)
    flags.DEFINE_string("output_dir", "experiments", "Where the two pictures go.")
    errors.run(main)
