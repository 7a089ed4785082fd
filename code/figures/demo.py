"""Draws demo.png: the web page with a picture of the test set, as a browser shows it while one word is pointed at.

Run it after `bash prepare.sh run`; needs Playwright and a Chromium."""

import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from captioning import paths, profiles, web
from captioning.models import saved

WORD = "sunglasses"
NAMES = ("02_attention", "02_transformer")

test = profiles.fashion_data("mini")["test"]
wearing = [row["image"] for row in test if WORD in row["captions"][0] and "hat" in row["captions"][0]][:6]
models = {name: saved.load(paths.OUTPUT / name) for name in NAMES}
target = Path(__file__).with_suffix(".png")
with (
    tempfile.TemporaryDirectory() as place,
    web.serving(models, Path(place) / "feedback", wearing) as address,
    sync_playwright() as playwright,
):
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    page.goto(address)
    page.locator(".gallery-item").nth(2).click()
    words = page.locator(".card").last.locator(".word", has_text=WORD)
    words.first.wait_for()
    words.first.locator("input").check(force=True)
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(500)  # the light fades in
    page.screenshot(path=target)
    browser.close()
Image.open(target).convert("RGB").quantize(160).save(target, optimize=True)
