"""The documentation pages, of a small repository and one module of the API."""

import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

pytest.importorskip("pdoc", reason="needs pdoc: pip install 'captioning[docs]'")

from pdoc.extract import walk_specs

from captioning import paths
from captioning.cli import docs as cli_docs
from captioning.course import docs
from captioning.course.standalone import mathml, notebook_html

ROOT = Path(__file__).resolve().parents[2]
SEEING = """# Seeing

[Itself](01_seeing.ipynb), [the next](02_none.ipynb), [data](../docs/data.md#folders), [change it](../CONTRIBUTING.md),
[a card](captioning/README.md), [a paper](https://arxiv.org/abs/1411.4555).

The code `$x_1$` is none, $\\log p_t$ is a formula:

$$\\sum_t \\log p_t$$"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    root = tmp_path_factory.mktemp("repository")
    (root / "code" / "figures").mkdir(parents=True)
    shutil.copy(ROOT / "code" / "figures" / "02_transformer.png", root / "code" / "figures")
    nbformat.write(
        new_notebook(cells=[new_markdown_cell(SEEING), new_code_cell("print(1 + 1)  # " + "and so on, " * 20)]),
        root / "code" / "01_seeing.ipynb",
    )
    (root / "README.md").write_text(
        "# Captions\n\n![a picture](code/figures/02_transformer.png)\n\nRead [the notebook](code/01_seeing.ipynb), "
        "[the data](dataset/README.md), [how to](docs/train.md), [a paper](https://arxiv.org/abs/1411.4555), "
        "[中文](README.zh-CN.md).\n"
    )
    (root / "README.zh-CN.md").write_text("# 图像描述\n\n[English](README.md)\n")
    (root / "CONTRIBUTING.md").write_text("# Change it\n\n[The tests](tests/x.py), [the data](docs/data.md).\n")
    (root / "docs").mkdir()
    (root / "docs" / "train.md").write_text(
        "# Train\n\nAs [there](../code/01_seeing.ipynb), with [data](data.md#folders) and [a file](../code/x.py).\n\n"
        "![a picture](../code/figures/02_transformer.png)\n"
    )
    (root / "docs" / "data.md").write_text(
        "# Data\n\n## Folders\n\nSee [above](../README.md) and "
        "`a/name/without/a/place/to/break/that/is/longer/than/a/line`.\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(docs, "modules", lambda: ["captioning", "captioning.serving.feedback"])
        return docs.build(root, root / "output").parent


def test_the_index_leads_to_notebooks_and_api(pages):
    index = (pages / "index.html").read_text()
    local = [link for link in re.findall(r'(?:href|src)="([^"]+)"', index) if not link.startswith(("http", "#"))]
    assert {"01_seeing.html", "api/captioning.html", "code/figures/02_transformer.png"} <= set(local)
    assert [link for link in local if not (pages / link).exists()] == []
    assert "Seeing" in index and "https://arxiv.org/abs/1411.4555" in index and "dataset/README.md" not in index


def test_pages_are_of_the_repository_wherever_dataset_and_output_are(monkeypatch, tmp_path):
    built = []
    monkeypatch.setattr(docs, "build", lambda root, output: built.append((root, output)) or output)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    cli_docs.docs(tmp_path / "pages")
    assert built == [(ROOT, tmp_path / "pages")]


@pytest.mark.parametrize("name", ["index", "docs/train", "docs/data"])
def test_every_link_of_a_page_leads_somewhere(pages, name):
    page = pages / f"{name}.html"
    links = re.findall(r'(?:href|src)="([^"]+)"', page.read_text())
    local = [link.split("#")[0] for link in links if not link.startswith(("http", "#"))]
    assert len(local) >= 5 and [link for link in local if not (page.parent / link).exists()] == []


def missing(folder):
    """The links of pages to files that are not there."""
    for page in folder.rglob("*.html"):
        text = re.sub(r"<(script|style)\b.*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.S)
        for link in re.findall(r'<(?:a|img|link)\b[^>]*? (?:href|src)="([^"]+)"', text):
            path = unquote(link).split("#")[0]
            if not re.match(r"\w+:", link) and not (page.parent / path).exists():
                yield f"{page.relative_to(folder)}: {link[:100]}"


def test_every_link_of_this_repository_s_pages_leads_somewhere(monkeypatch, tmp_path):
    monkeypatch.setattr(docs, "modules", lambda: ["captioning"])
    assert [*missing(docs.build(ROOT, tmp_path / "pages").parent)] == []


def test_a_page_fits_a_telephone_and_begins_with_its_text(pages, browser):
    view = browser.new_page(viewport={"width": 400, "height": 800})
    view.goto((pages / "docs" / "data.html").as_uri())
    assert view.evaluate("document.documentElement.scrollWidth") <= 400
    top = {name: view.locator(name).bounding_box()["y"] for name in ("h1", "h2 >> nth=0", "nav")}
    assert top["h1"] < 100 and top["nav"] > top["h2 >> nth=0"]


def test_long_lines_of_a_notebook_scroll(pages, browser):
    view = browser.new_page(viewport={"width": 400, "height": 800})
    view.goto((pages / "01_seeing.html").as_uri())
    code = view.locator(".highlight pre")
    code.evaluate("code => code.scrollTo(10_000, 0)")
    assert code.evaluate("code => code.scrollLeft") > 400


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_notebook_is_dark_where_the_screen_is(pages, browser, scheme):
    view = browser.new_page(color_scheme=scheme)
    view.goto((pages / "01_seeing.html").as_uri())
    paper = view.evaluate("getComputedStyle(document.body).backgroundColor")
    red, green, blue = map(int, re.findall(r"\d+", paper)[:3])
    assert (max(red, green, blue) < 64) if scheme == "dark" else (min(red, green, blue) > 200)


def test_a_long_list_of_pages_scrolls_beside_the_text(pages, browser):
    view = browser.new_page(viewport={"width": 1280, "height": 200})
    view.goto((pages / "docs" / "data.html").as_uri())
    nav, text = (view.locator(name).bounding_box() for name in ("nav", "h1"))
    assert nav["y"] + nav["height"] <= 200 and nav["x"] + nav["width"] < text["x"]


def test_a_notebook_leads_to_pages_and_only_names_what_has_none(pages):
    seeing = (pages / "01_seeing.html").read_text()
    for link in ("01_seeing.html", "docs/data.html#folders", "CONTRIBUTING.html", "https://arxiv.org/abs/1411.4555"):
        assert f'href="{link}"' in seeing
    assert "the next," in seeing and "a card," in seeing


def test_a_notebook_needs_no_network(pages):
    page = (pages / "01_seeing.html").read_text()
    assert "<script" not in page
    assert not re.findall(r'src="(?!data:)[^"]*"|<link[^>]*>|@import', page)
    said = re.findall("<math.*?</math>", page, re.S)
    assert [re.sub("<[^>]+>", "", formula) for formula in said] == ["logpt", "∑tlogpt"]
    assert ">log</mo><msub>" in said[0]
    assert "<code>$x_1$</code>" in page


def test_a_function_is_set_apart_but_from_a_bracket():
    assert '<mo lspace="0.17em" rspace="0.17em">tanh</mo>' in mathml(r"\tanh x", "inline")
    assert "<mi>tanh</mi>" in mathml(r"\tanh(x)", "inline")


def test_what_is_no_formula_is_shown_as_it_is():
    assert mathml(r"\frac{1}{", "inline") == r"<code>\frac{1}{</code>"
    assert mathml("x^2^3 < 1", "block") == "<code>x^2^3 &lt; 1</code>"


@pytest.mark.parametrize("notebook", sorted((ROOT / "code").glob("[0-9][0-9]_*.ipynb")), ids=lambda path: path.stem)
def test_every_formula_of_the_chapters_can_be_drawn(notebook):
    page = notebook_html(nbformat.read(notebook, as_version=4), notebook, notebook.name, {notebook.name: "x.html"})
    prose = "".join(re.findall(r'data-mime-type="text/markdown">(.*?)</div>', page, re.S))
    assert prose.strip()
    assert "\\" not in re.sub("<code.*?</code>|<pre.*?</pre>", "", prose, flags=re.S)
    assert not re.search("<mi>&|<code>[^<]*\\\\", prose)


def test_the_other_language_has_a_page(pages):
    assert 'href="README.zh-CN.html"' in (pages / "index.html").read_text()
    chinese = (pages / "README.zh-CN.html").read_text()
    assert '<html lang="zh-CN">' in chinese and 'href="index.html">English' in chinese


def test_pages_lead_to_each_other(pages):
    assert "docs/train.html" in (pages / "index.html").read_text()
    train = (pages / "docs" / "train.html").read_text()
    assert "../01_seeing.html" in train and 'href="data.html#folders"' in train and "x.py" not in train


def test_the_pages_hold_the_notebook_and_the_docstrings(pages):
    assert "print" in (pages / "01_seeing.html").read_text()
    api = (pages / "api" / "captioning.html").read_text()
    assert "The caption of a picture: a file, or its content" in api
    assert "What people say about captions" in (pages / "api" / "captioning" / "serving" / "feedback.html").read_text()


def test_every_module_but_the_commands_and_what_cannot_be_imported_is_documented(monkeypatch, capsys):
    def import_module(name):
        if name == "captioning.serving.web":
            raise ModuleNotFoundError("No module named 'gradio'", name="gradio")

    monkeypatch.setattr(docs, "import_module", import_module)
    found = {name.replace(".", "/") for name in walk_specs(docs.modules())}
    assert "captioning.serving.web: left out, it needs gradio" in capsys.readouterr().out
    files = (ROOT / "code" / "captioning").rglob("*.py")
    there = {str(file.relative_to(ROOT / "code").with_suffix("")).removesuffix("/__init__") for file in files}
    left_out = {"captioning/__main__", "captioning/serving/web"}
    assert found == {name for name in there - left_out if not name.startswith("captioning/cli")}
