"""Draws demo.png: the web page with a photograph and the captioner that comes with the package, as a browser shows it
while a word is chosen. Needs Playwright and a Chromium."""

import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from captioning.data.pictures import PHOTOGRAPHS
from captioning.models import saved
from captioning.serving import web
from captioning.serving.inference import PHOTO_CAPTIONER

models = {PHOTO_CAPTIONER.name: saved.load(PHOTO_CAPTIONER)}
target = Path(__file__).with_suffix(".png")
with (
    tempfile.TemporaryDirectory() as place,
    web.serving(models, Path(place) / "feedback", [str(file) for file in PHOTOGRAPHS]) as address,
    sync_playwright() as playwright,
):
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
    page = browser.new_page(viewport={"width": 1200, "height": 860})
    page.goto(address)
    page.locator(".gallery-item").first.click()
    word = page.locator(".card .word", has_text="man").first
    word.wait_for()
    word.locator("input").check(force=True)
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(500)  # the light fades in
    page.screenshot(path=target)
    browser.close()
Image.open(target).convert("RGB").quantize(256).save(target, optimize=True)
