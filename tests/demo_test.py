# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: upload, compare, reject, download, and no requests to others."""

import base64
import io
import json
import os
import re
import subprocess
import sys
import urllib.parse
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from helpers.photos import export_painter
from PIL import Image
from screenshots import open_browser, served, shown, upload, wait
from selenium.webdriver.common.by import By

from koalagan import demo
from koalagan.errors import UserError
from koalagan.inference import colorizer
from koalagan.photos import memory, page

# Where the screenshot is kept for people to look at.
ARTIFACTS = os.environ.get("KOALAGAN_TEST_ARTIFACTS")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Paints light things warm and dark things cold."""
    path = tmp_path_factory.mktemp("warm", numbered=False) / "export"
    return export_painter(path, 64, slope=(0.25, 0.45))


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    """Paints light things cold."""
    path = tmp_path_factory.mktemp("cold", numbered=False) / "export"
    return export_painter(path, 64, slope=(-0.25, -0.45))


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "cameraman.png"
    exif = Image.Exif()
    exif[0x010F] = "Leica"
    Image.fromarray(skimage.data.camera()[:400]).save(path, exif=exif)
    return str(path)


@pytest.fixture(scope="module")
def address(model, other_model):
    """The page as the command serves it."""
    models = [f"--saved_model={path}" for path in (model, other_model)]
    with served("koalagan.demo", "--max_upload_mb=1", *models) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    try:
        browser = open_browser(str(tmp_path_factory.mktemp("profile")), (1100, 1000))
    except UserError as error:
        pytest.skip(str(error))
    yield browser
    browser.quit()


def picture(browser, element):
    """The pixels of an <img>, uint8 [H, W, 3]."""
    script = """
        const [image, done] = arguments;
        const canvas = document.createElement('canvas');
        canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
        canvas.getContext('2d').drawImage(image, 0, 0);
        done(canvas.toDataURL('image/png'));
    """
    data = browser.execute_async_script(script, element).split(",", 1)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def shows(browser, *expected):
    """Whether each of the expected pictures is one of the two under the slider."""
    pair = [picture(browser, image).astype(int) for image in wait(browser, shown)]
    # The page loads WebP, which is slightly lossy. Before and after may come in either order.
    return all(min(np.abs(one - wanted).mean() for one in pair) < 3 for wanted in expected)


def test_a_photograph_is_colored_on_the_page(browser, address, model, photograph, tmp_path):
    upload(browser, address, photograph)
    gray = skimage.data.camera()[:400]
    expected = colorizer.load(model).colorize(gray)
    before = np.repeat(gray[..., None], 3, axis=-1)
    assert shows(browser, before, expected)
    assert np.abs(before.astype(int) - expected).mean() > 10
    assert "512 x 400 pixels" in browser.find_element(By.ID, "note").text

    screenshot = Path(ARTIFACTS or tmp_path) / "demo.png"
    browser.save_screenshot(str(screenshot))
    assert screenshot.stat().st_size > 10_000

    browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    browser.find_element(By.ID, "download").click()
    result = tmp_path / "cameraman-colored.png"
    wait(browser, lambda b: result.exists())
    with Image.open(result) as image:
        np.testing.assert_array_equal(np.asarray(image), expected)
        assert image.getexif()[0x010F] == "Leica"


def test_another_model_colors_the_same_photograph(browser, address, model, other_model, photograph):
    upload(browser, address, photograph)
    gray = skimage.data.camera()[:400]
    assert shows(browser, colorizer.load(model).colorize(gray))
    browser.find_element(By.CSS_SELECTOR, "#model input").click()

    def choices(browser):
        """The models, once the list is open; before, they have no text."""
        found = browser.find_elements(By.CSS_SELECTOR, "[role=option]")
        return len(found) == 2 and all(choice.text for choice in found) and found

    first, second = wait(browser, choices)
    assert (first.text.split()[-1], second.text) == ("warm", "cold")
    second.click()
    expected = colorizer.load(other_model).colorize(gray)
    wait(browser, lambda b: shows(b, expected))


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("notes.jpg", b"not a picture", "notes.jpg is damaged or in a format other than"),
        ("large.png", bytes(2 * 2**20), "size"),
    ],
)
def test_files_that_cannot_be_colored_are_refused_with_a_message(
    browser, address, tmp_path, name, content, words
):
    (tmp_path / name).write_bytes(content)
    upload(browser, address, str(tmp_path / name))
    wait(browser, lambda b: words in b.find_element(By.TAG_NAME, "body").text)
    assert "Traceback" not in browser.find_element(By.TAG_NAME, "body").text


def test_the_page_sends_requests_to_this_machine_only(browser, address, photograph):
    browser.get_log("performance")  # discards earlier entries
    upload(browser, address, photograph)
    wait(browser, shown)
    requested = set()
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            requested.add(message["params"]["request"]["url"])
    assert requested
    others = {url for url in requested if not re.match(r"(http://127\.0\.0\.1:|data:|blob:)", url)}
    assert not others


@pytest.mark.parametrize("models", [("koala",), ("any",)])
def test_a_missing_gradio_is_named(tmp_path, monkeypatch, models):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "gradio", None)  # as if it were not installed
    for name in ("NO_PROXY", "no_proxy", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "")  # restored after the test
    assert demo.DemoSettings().saved_model == ("koala",)
    with pytest.raises(UserError, match=r"pip install 'koalagan\[demo\]'") as error:
        demo.main(demo.DemoSettings(saved_model=models), [])
    assert "\n" not in str(error.value)


def test_a_port_in_use_is_one_sentence(model, address):
    """In a process of its own, because Gradio leaves sockets open when it fails."""
    port = urllib.parse.urlparse(address).port
    arguments = [f"--saved_model={model}", f"--port={port}"]
    command = [sys.executable, "-m", "koalagan.demo", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert f"cannot listen on 127.0.0.1:{port}: choose another --port" in ended.stderr


def test_a_photograph_too_large_for_the_memory_is_refused(model, tmp_path, monkeypatch):
    Image.fromarray(skimage.data.camera()).save(tmp_path / "a.png")
    monkeypatch.setattr(memory, "available", lambda: 10**6)
    with pytest.raises(UserError, match="a.png .512x512 pixels. does not fit into memory"):
        page.color_file(str(tmp_path / "a.png"), colorizer.load(model), str(tmp_path))


def test_a_photograph_that_has_color_is_noted(model, tmp_path):
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "a.jpg")
    (before, after), result, text = page.color_file(
        str(tmp_path / "a.jpg"), colorizer.load(model), str(tmp_path)
    )
    assert "had color" in text and before.shape == after.shape == (512, 512, 3)
    assert result == str(tmp_path / "a-colored.png") and os.path.exists(result)
