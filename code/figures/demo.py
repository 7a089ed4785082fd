"""Draws demo.png: the web page with a picture of the test set, as a browser shows it while a word is chosen.

Run it after `bash prepare.sh run`; needs Playwright and a Chromium."""

import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from captioning import paths
from captioning.course.fashion import fashion_data
from captioning.models import saved
from captioning.serving import web

WORDS = {"02_attention": "socks", "02_transformer": "sunglasses"}  # that each model is asked about

test = fashion_data("mini")["test"]
examples = list(test["image"])[:8]
models = {name: saved.load(paths.OUTPUT / "mini" / name) for name in WORDS}
target = Path(__file__).with_suffix(".png")
with (
    tempfile.TemporaryDirectory() as place,
    web.serving(models, Path(place) / "feedback", examples) as address,
    sync_playwright() as playwright,
):
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
    page = browser.new_page(viewport={"width": 1200, "height": 1060})
    page.goto(address)
    page.locator(".gallery-item").first.click()
    for card, asked in enumerate(WORDS.values()):
        word = page.locator(".card").nth(card).locator(".word", has_text=asked).first
        word.wait_for()
        word.locator("input").check(force=True)
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(500)  # the light fades in
    page.screenshot(path=target)
    browser.close()
Image.open(target).convert("RGB").quantize(256).save(target, optimize=True)
