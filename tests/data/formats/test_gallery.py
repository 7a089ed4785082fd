"""The gallery, as a program that reads pages for a person finds it."""

from html.parser import HTMLParser
from urllib.parse import unquote

from captioning.data.formats import gallery


class Page(HTMLParser):
    """Tags with their attributes, and the words that are not hidden from a screen reader."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "meta"):
            self.open.append((tag, dict(attrs).get("aria-hidden") == "true" or tag == "style"))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if data.strip() and not any(hidden for _, hidden in self.open):
            self.words.append(data.strip())


def test_every_picture_has_its_words_once(tmp_path):
    rows = [
        {"file": 'deep/a "b" #1.jpg', "captions": ['A "red" dress & <hat>', "second"]},
        {"file": "c.jpg", "captions": []},
    ]
    gallery.write(rows, tmp_path / "index.html")
    page = Page((tmp_path / "index.html").read_text(encoding="utf-8"))
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [each["alt"] for each in pictures] == ['A "red" dress & <hat>', "No caption yet: c.jpg"]
    assert unquote(pictures[0]["src"]) == rows[0]["file"] and page.open == []
    title = "2 pictures, 1 with a caption"
    assert page.words == [title, title, "second", rows[0]["file"], "c.jpg"]  # the page's name and its heading
    assert {"lang": "en"} in [attributes for tag, attributes in page.tags if tag == "html"]
    assert [tag for tag, _ in page.tags if tag in ("main", "h1", "li")] == ["main", "h1", "li", "li"]
