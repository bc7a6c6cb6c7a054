# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The page of an evaluation, in a real browser."""

import base64
import io
import json
import re

import numpy as np
import pytest
import scipy.stats
import skimage.data
from matplotlib.figure import Figure
from PIL import Image
from screenshots import open_browser
from selenium.webdriver.common.by import By

from koalagan.errors import UserError
from koalagan.evaluation import protocol, report

COUNT = 9
# Names are the user's: this one would end the element that it is in.
NAMES = [f"</script><b>{number}</b>__DATA__.jpg" for number in range(COUNT)]


def _half(L):
    """Paints everything orange, more where it is lighter."""
    return np.concatenate([0.1 + 0.1 * L, 0.3 + 0.1 * L], axis=-1)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    coffee = skimage.data.coffee()
    pictures = np.stack([coffee[i * 30 :][:32, i * 40 :][:, :48] for i in range(COUNT)])
    protocol.evaluate_models(
        {"orange": lambda L: _half(L.numpy()), "_gray$2_$ <2>": lambda L: 0.0 * _half(L.numpy())},
        pictures,
        data={"dataset": "coffee", "split": "all"},
        output_dir=str(folder),
        ids=NAMES,
        report_path=str(folder / "report.html"),
    )
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser(page, tmp_path_factory):
    try:
        browser = open_browser(str(tmp_path_factory.mktemp("profile")), (1100, 1000))
    except UserError as error:
        pytest.skip(str(error))
    browser.get(page.as_uri())
    yield browser
    assert browser.get_log("browser") == []  # no errors, and nothing that the policy refused
    browser.quit()


def test_every_model_is_in_a_legend():
    axes = Figure().subplots()
    for name in ("_tmp", "a$5_$b"):
        axes.plot([0, 1], label=report._text(name))
    assert [text.get_text() for text in axes.legend().get_texts()] == [" _tmp", r"a\$5_\$b"]


def test_the_page_needs_nothing_else(page):
    text = page.read_text("utf-8")
    assert not re.search(r"(?:src|href)=[\"'](?!data:)", text)
    assert "default-src 'none'" in text


def test_tables_and_figures(browser, page):
    assert browser.title == "Evaluation of orange, _gray$2_$ <2>"
    cells = [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, "td:first-child")]
    assert cells[:3] == ["gray", "orange", "_gray$2_$ <2>"]
    written = page.with_name("table.md").read_text().split("|")
    for cell in browser.find_elements(By.CSS_SELECTOR, "td, th"):
        assert any(cell.get_property("textContent") == part.strip() for part in written)
    figures = browser.find_elements(By.CSS_SELECTOR, "figure img")
    assert len(figures) == 3
    assert all(image.get_property("naturalWidth") > 400 for image in figures)
    assert not browser.find_elements(By.TAG_NAME, "b")


def test_best_and_worst_pictures_under_a_slider(browser, page):
    assert len(browser.find_elements(By.CLASS_NAME, "card")) == 2 * 4 * 2 * 3
    lines = map(json.loads, page.with_name("pictures.jsonl").read_text().splitlines())
    errors = {one["picture"]: one["squared_error"] for one in lines if one["model"] == "orange"}
    notes = browser.find_elements(By.CSS_SELECTOR, ".card .note")[:6]
    shown = [note.text.rsplit(": ", 1)[0] for note in notes]
    ranked = sorted(NAMES, key=errors.get)
    assert shown == ranked[:3] + ranked[::-1][:3]
    card = browser.find_element(By.CLASS_NAME, "card")
    _, model, truth = card.find_elements(By.TAG_NAME, "img")

    def slide(value):
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
        browser.execute_script(script, card.find_element(By.TAG_NAME, "input"), value)
        clips = (image.value_of_css_property("clip-path") for image in (model, truth))
        return [float(re.search(r"0px ([\d.]+)(%|px)", clip)[1]) for clip in clips]

    assert slide(0) == [100, 100]
    assert slide(0.5) == [50, 100]
    assert slide(1.25) == [0, 75]
    assert slide(2) == [0, 0]


def _saved(browser):
    """What the button for the answers would write."""
    script = """
        const done = arguments[0], make = URL.createObjectURL;
        URL.createObjectURL = blob => { blob.text().then(done); return "#saved"; };
        document.getElementById("save").click();
        URL.createObjectURL = make;
    """
    return json.loads(browser.execute_async_script(script))


def test_the_blind_test(browser, page):
    left, right = browser.find_elements(By.CSS_SELECTOR, "#pair button")
    for number in range(4):
        (left, right)[number % 2].click()
    assert browser.find_element(By.ID, "progress").text == f"Pair 5 of {COUNT}"
    browser.get(page.as_uri())  # the browser keeps the answers
    assert browser.find_element(By.ID, "progress").text == f"Pair 5 of {COUNT}"
    left, right = browser.find_elements(By.CSS_SELECTOR, "#pair button")
    for _ in range(COUNT - 4):
        left.click()
    assert "All 9 pairs" in browser.find_element(By.ID, "progress").text
    assert not left.is_displayed()

    saved = _saved(browser)
    answers = saved["answers"]
    assert (saved["dataset"], saved["models"]) == ("coffee", ["orange", "_gray$2_$ <2>"])
    assert sorted(answer["picture"] for answer in answers) == NAMES
    assert [answer["chosen"] for answer in answers[:4]] == ["left", "right"] * 2
    assert [answer["model"] for answer in answers].count("orange") == 5
    text = browser.find_element(By.ID, "score").text
    for model, score in saved["scores"].items():
        wrong = [not answer["correct"] for answer in answers if answer["model"] == model]
        assert (score["answers"], score["taken_for_the_photograph"]) == (len(wrong), sum(wrong))
        interval = scipy.stats.binomtest(sum(wrong), len(wrong)).proportion_ci(method="wilson")
        np.testing.assert_allclose(score["interval"], interval, atol=1e-6)
        assert f"{model} was taken for the photograph in {sum(wrong)} of {len(wrong)}" in text

    browser.find_element(By.ID, "again").click()
    assert browser.find_element(By.ID, "progress").text == f"Pair 1 of {COUNT}"


def test_which_answers_are_correct(browser, page):
    """The picture with its own colors is known by its pixels."""
    browser.find_element(By.ID, "again").click()
    pixels = """
        const image = arguments[0], canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        const context = canvas.getContext("2d");
        context.drawImage(image, 0, 0);
        return Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data);
    """
    coffee = skimage.data.coffee().astype(float)
    truths = [coffee[i * 30 :][:32, i * 40 :][:, :48] for i in range(COUNT)]
    choices = []
    for number in range(COUNT):
        buttons = browser.find_elements(By.CSS_SELECTOR, "#pair button")
        distances = []
        for button in buttons:
            values = browser.execute_script(pixels, button.find_element(By.TAG_NAME, "img"))
            shown = np.reshape(values, (32, 48, 4))[..., :3]
            distances.append(min(np.abs(shown - truth).mean() for truth in truths))
        true, colored = np.argsort(distances)
        correct = number % 3 > 0
        buttons[true if correct else colored].click()
        choices.append(correct)
    assert [answer["correct"] for answer in _saved(browser)["answers"]] == choices


def test_a_page_that_cannot_be_written(tmp_path):
    pictures = skimage.data.coffee()[None, :32, :48]

    def refuse(path):
        with pytest.raises(UserError, match="page .* cannot be written .*: name another --report"):
            protocol.evaluate_models(
                {},
                pictures,
                data={"dataset": "coffee", "split": "all"},
                output_dir=str(tmp_path / "out"),
                report_path=str(path),
            )

    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "nowhere" / "report.html", tmp_path / "folder"):
        refuse(path)
        assert not (tmp_path / "out").exists()  # before the work
    refuse(tmp_path / ("long" * 100))
    assert (tmp_path / "out" / "metrics.json").exists()


def test_pictures_are_nearly_those_that_are_measured():
    """JPEG keeps the resolution of colors."""
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2, 0], stripes[:, 1::2, 2] = 200, 200
    kept = report._picture(stripes).partition(",")[2]
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(kept))))
    assert np.abs(decoded.astype(int) - stripes).mean() < 12
