# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: upload, compare, reject, download, and nobody else is called."""

import base64
import io
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import skimage.data
from PIL import Image
from screenshots import open_browser, served, shown, upload, wait
from selenium.webdriver.common.by import By

import koalagan
from koalagan import demo, export
from koalagan.errors import UserError
from koalagan.photos import bulk

# Where the screenshot is kept, for people to look at.
ARTEFACTS = os.environ.get("KOALAGAN_TEST_ARTEFACTS")


def exported(path, a, b):
    """A SavedModel that gives each pixel its lightness times (a, b) for a colour."""
    L = keras.Input((None, None, 1), name="L")
    start = keras.initializers.Constant([[[[a, b]]]])
    ab = keras.layers.Conv2D(2, 1, kernel_initializer=start, bias_initializer="zeros")(L)
    export.export_savedmodel(keras.Model({"L": L}, ab), None, str(path), (64, 64))
    return str(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Paints light things warm and dark things cold."""
    return exported(tmp_path_factory.mktemp("warm", numbered=False) / "export", 0.25, 0.45)


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    """Paints light things cold."""
    return exported(tmp_path_factory.mktemp("cold", numbered=False) / "export", -0.25, -0.45)


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
    """What an <img> shows, uint8 [H,W,3]."""
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
    """Whether each of these lies under the slider."""
    pair = [picture(browser, image).astype(int) for image in wait(browser, shown)]
    # Pages get WebP, which is a little lossy; before and after may lie in either order.
    return all(min(np.abs(one - wanted).mean() for one in pair) < 3 for wanted in expected)


def test_a_photograph_is_coloured_on_the_page(browser, address, model, photograph, tmp_path):
    upload(browser, address, photograph)
    grey = skimage.data.camera()[:400]
    expected = koalagan.load(model).colorize(grey)
    before = np.repeat(grey[..., None], 3, axis=-1)
    assert shows(browser, before, expected)
    assert np.abs(before.astype(int) - expected).mean() > 10
    assert "512 x 400 pixels" in browser.find_element(By.ID, "note").text

    screenshot = Path(ARTEFACTS or tmp_path) / "demo.png"
    browser.save_screenshot(str(screenshot))
    assert screenshot.stat().st_size > 10_000

    browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    browser.find_element(By.ID, "download").click()
    result = tmp_path / "cameraman-coloured.png"
    wait(browser, lambda b: result.exists())
    with Image.open(result) as image:
        np.testing.assert_array_equal(np.asarray(image), expected)
        assert image.getexif()[0x010F] == "Leica"


def test_another_model_colours_the_photograph_that_is_there(
    browser, address, model, other_model, photograph
):
    upload(browser, address, photograph)
    grey = skimage.data.camera()[:400]
    assert shows(browser, koalagan.load(model).colorize(grey))
    browser.find_element(By.CSS_SELECTOR, "#model input").click()

    def choices(browser):
        """The models, once the list has opened; until then they have no text."""
        found = browser.find_elements(By.CSS_SELECTOR, "[role=option]")
        return len(found) == 2 and all(choice.text for choice in found) and found

    first, second = wait(browser, choices)
    assert (first.text.split()[-1], second.text) == ("warm", "cold")
    second.click()
    expected = koalagan.load(other_model).colorize(grey)
    wait(browser, lambda b: shows(b, expected))


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("notes.jpg", b"no picture at all", "notes.jpg is damaged or in a format other than"),
        ("large.png", bytes(2 * 2**20), "size"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(browser, address, tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    upload(browser, address, str(tmp_path / name))
    wait(browser, lambda b: words in b.find_element(By.TAG_NAME, "body").text)
    assert "Traceback" not in browser.find_element(By.TAG_NAME, "body").text


def test_the_page_calls_nobody_else(browser, address, photograph):
    browser.get_log("performance")  # what was before
    upload(browser, address, photograph)
    wait(browser, shown)
    asked = set()
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.add(message["params"]["request"]["url"])
    assert asked
    strangers = {url for url in asked if not re.match(r"(http://127\.0\.0\.1:|data:|blob:)", url)}
    assert not strangers


def command(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "koalagan.demo", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
    )


def test_mistakes_are_told_in_one_sentence(model, tmp_path):
    without = command(cwd=tmp_path)
    assert without.returncode == 1 and "Traceback" not in without.stderr
    assert "there is no quickstart model here" in without.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = command(f"--saved_model={model}", f"--port={port}", cwd=tmp_path)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert f"127.0.0.1:{port} cannot be listened on: name another --port" in ended.stderr


def test_a_photograph_too_large_for_the_memory_is_refused(model, tmp_path, monkeypatch):
    Image.fromarray(skimage.data.camera()).save(tmp_path / "a.png")
    monkeypatch.setattr(bulk, "_memory_available", lambda: 10**6)
    with pytest.raises(UserError, match="a.png .512x512 pixels. does not fit into memory"):
        demo.colour_file(str(tmp_path / "a.png"), koalagan.load(model), str(tmp_path))


def test_a_coloured_photograph_is_said_to_be_one(model, tmp_path):
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "a.jpg")
    (before, after), result, said = demo.colour_file(
        str(tmp_path / "a.jpg"), koalagan.load(model), str(tmp_path)
    )
    assert "It had colour" in said and before.shape == after.shape == (512, 512, 3)
    assert result == str(tmp_path / "a-coloured.png") and os.path.exists(result)
