"""The README and the pages of docs/ say what is true: their paths exist, their commands parse, their Python runs, their
tables are the results."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import captioning
from captioning import cli
from captioning.cli.parser import options
from captioning.evaluation import results
from ofa_release import write_bpe, write_release

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EVERY_PAGE = sorted({*ROOT.glob("*.md"), *PAGES, *(ROOT / "code").rglob("*.md"), *ROOT.glob("*/README.md")})
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
RESULTS = ROOT / "output" / "results.csv"
MADE = ("output/", "dataset/", "photos/", "holiday/")  # what commands and readers make


def blocks(language, text=TEXT):
    return [body for kind, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M) if kind == language]


def commands(program):
    """The arguments of every command line of the README that calls `program`; no comments, no redirection."""
    lines = [shlex.split(line, comments=True) for block in blocks("bash") for line in block.splitlines()]
    lines = [line[: line.index(">")] if ">" in line else line for line in lines]
    return [line[line.index(program) + 1 :] for line in lines if program in line]


def exists(path):
    return any(ROOT.glob(path.rstrip("/"))) or (path.startswith(MADE) and "README" not in path)


def anchors(page):
    """The names of a page's headings, as links end in them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_project_leads_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for link in found:
        if not link.startswith(("http", "mailto:")):
            path, _, anchor = link.partition("#")
            place = page.parent / path if path else page
            assert place.exists(), link
            assert not anchor or anchor in anchors(place), link


def test_the_readme_leads_to_every_page():
    assert [page.name for page in PAGES[1:] if f"](docs/{page.name})" not in README] == []


def test_the_readme_is_short():
    """Of its words those of code, of the tables of results and of addresses do not count."""
    text = re.sub(r"^```.*?^```$|<!-- results.*?<!-- end -->|\]\([^)]*\)|<[^>]*>", " ", README, flags=re.S | re.M)
    assert 300 < len(re.findall(r"\w[\w'-]*", text)) <= 1100


def test_every_notebook_has_its_row_with_a_picture():
    for notebook in sorted((ROOT / "code").glob("[0-9][0-9]_*.ipynb")):
        picture = f'<img src="code/figures/{notebook.name[:2]}_thumbnail.png" width="180"'
        assert re.search(rf"^\| {picture}.*\[{notebook.stem}\]\(code/{notebook.name}\) \|", README, re.M), notebook.name


def test_every_path_in_code_exists_or_is_made_by_a_command():
    code = " ".join([*re.findall(r"`([^`\n]+)`", TEXT), *blocks("bash"), *blocks("python")])
    found = set(re.findall(r"(?<![\w/.-])(?:code|tests|dataset|output|photos|holiday)/[\w./*-]+", code))
    assert "code/configs/flickr8k_transformer.yaml" in found
    assert [path for path in sorted(found) if not exists(path)] == []


def test_every_captioning_command_parses():
    found = [argv for argv in commands("captioning") if argv != ["--help"]]
    assert {argv[0] for argv in found} == {verb.split()[0] for verb in cli.VERBS} - {"results"} and len(found) >= 12
    for argv in found:
        command, function, words = cli.named(argv)
        words = cli.arguments(function, words)
        if "--print_config" in words or "--help" in words:
            with pytest.raises(SystemExit, match="^0$"):
                options(function, command, words)
        else:
            options(function, command, words)


def test_prepare_knows_its_commands():
    script = (ROOT / "prepare.sh").read_text()
    words = {argv[0] for argv in commands("prepare.sh") if argv}
    assert {"run", "data"} <= words
    assert all(re.search(rf"^    {word}\)", script, re.M) for word in words)


def test_the_python_of_the_readme_runs(make_model, tmp_path, capsys):
    model, picture, ofa = make_model("transformer", max_length=20), tmp_path / "dog.jpg", tmp_path / "ofa"
    model.save_pretrained(tmp_path / "model")
    ofa.mkdir()
    write_release(ofa, write_bpe(ofa))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(picture)
    here = {"output/transformer_flickr8k": tmp_path / "model", "OFA-Sys/ofa-base": ofa, "photos/dog.jpg": picture}
    for block in (found := blocks("python")):
        assert "photos/dog.jpg" in block
        for name, path in here.items():
            block = block.replace(name, str(path))
        names = {}
        exec(block, names)
    assert len(found) == 4 and names["images"].shape == (1, 3, 64, 64)
    first, shipped, short, by_ofa, long, _ = capsys.readouterr().out.split("\n", 5)
    assert short == long == names["captions"].best[0] and by_ofa != short
    assert first == shipped == captioning.caption(picture) != short


@pytest.mark.parametrize("data", ["minifashion", "flickr8k"])
def test_the_tables_are_those_of_the_results(data):
    expected = results.results_markdown(data, RESULTS)
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    [shown] = re.findall(rf"<!-- results {data} -->\n(.*?)<!-- end -->", page, re.S)
    assert shown.strip() == expected, (
        f"paste the output of `python -m captioning results --data {data}` between "
        f"`<!-- results {data} -->` and `<!-- end -->` of docs/results.md:\n\n{expected}\n"
    )


@pytest.mark.parametrize("data", ["minifashion", "flickr8k"])
def test_the_short_tables_are_of_the_same_numbers_and_have_controls(data):
    [shown] = re.findall(rf"<!-- results {data} -->\n(.*?)<!-- end -->", README, re.S)
    head, _, *rows = shown.strip().splitlines()
    metrics = head.strip("| ").split(" | ")
    recorded = [row for row in results.read_results(RESULTS) if row["data"] == data]
    known = {results.markdown_row(row, metrics) for row in recorded}
    assert [row for row in rows if row not in known] == [] and len(rows) <= 8
    assert sum(row.split(" | ")[0].strip("| ") in results.CONTROLS for row in rows) >= 2


def headings(text):
    """The levels of the headings, in order; code blocks left out."""
    return re.findall(r"^(#+) ", re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M), re.M)


def code(text):
    """What can be copied out of the code blocks, line by line, without the comments of the shell."""
    lines = [
        line for kind in ("bash", "python", "bibtex") for block in blocks(kind, text) for line in block.splitlines()
    ]
    return [re.sub(r"\s+# .*", "", line) for line in lines]


def links(text):
    """Where links and pictures lead, and what is named in a run of text as code."""
    languages = {"README.md", "README.zh-CN.md"}  # each page links to the other
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    return sorted(set(found) - languages), sorted(set(re.findall(r"`([^`\n]+)`", text)))


def tables(text):
    return re.findall(r"<!-- results \w+ -->.*?<!-- end -->", text, re.S)


@pytest.mark.parametrize("part", [headings, code, links, tables], ids=lambda part: part.__name__)
def test_the_chinese_page_keeps_step(part):
    """What one page gains, the other gains: commands, tables, links and paths as they are, the rest in Chinese."""
    assert part(CHINESE) == part(README)


def test_the_chinese_page_is_chinese():
    prose = re.sub(r"^```.*?^```$|<!-- results.*?<!-- end -->|`[^`]*`|\([^)]*\)", "", CHINESE, flags=re.S | re.M)
    paragraphs = [each for each in prose.split("\n\n") if re.search(r"[a-z]{4}", each) and each != "[English]"]
    assert len(paragraphs) >= 8
    assert [each for each in paragraphs if not re.search(r"[\u4e00-\u9fff]", each)] == []
