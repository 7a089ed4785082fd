"""The course's notebooks: each runs to its end in the smoke profile, and each keeps the house rules."""

import re
import shutil
from collections import Counter
from itertools import groupby, pairwise
from pathlib import Path

import nbformat
import pytest

from captioning.course import page, run
from captioning.course.run import set_profile
from captioning.data import photo_claims
from small_flickr8k import write_flickr8k

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((REPOSITORY / "code").glob("[0-9][0-9]_*.ipynb"))

SOLUTION = re.compile(r"<details>.*?```python\n(.*?)```", re.S)

pytestmark = pytest.mark.skipif(not NOTEBOOKS, reason="the course has no notebooks yet")
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where all notebooks find what they share; it goes when they are through, for their models are large."""
    folder = tmp_path_factory.mktemp("home")
    yield folder
    shutil.rmtree(folder)


@each_notebook
def test_runs_to_its_end_in_the_smoke_profile(path, tmp_path, home, monkeypatch):
    """With the folded solutions of its exercises, so that the cells that check answers check those."""
    monkeypatch.setenv("CAPTIONING_HOME", str(home))
    monkeypatch.setattr(run, "set_profile", lambda notebook, *rest: set_profile(solved(notebook), *rest))
    chapter = run.execute(path, tmp_path, "smoke")
    assert chapter.failure == ""
    assert chapter.results and all(result.html for result in chapter.results), "no cell tagged `result` showed anything"
    assert list((home / "output").glob("*/log.jsonl")) == [], "a run lies outside of the folder of its profile"


@pytest.fixture(scope="module")
def photographs(home):
    """So few that an epoch has ten steps; each says something of every attribute."""
    words = [[values.split()[0] for values in each.values()] for each in photo_claims.VALUES.values()]
    said = [[f"a {' '.join(each[number % len(each)] for each in words)} ."] * 5 for number in range(258)]
    write_flickr8k(home / "dataset" / "flickr8k", said, train=250, size=64)


def test_the_first_runs_to_its_end_in_the_profile_of_photographs(tmp_path, home, photographs, monkeypatch):
    """Which has several captions a picture, words that are left out, and nothing that is drawn."""
    monkeypatch.setenv("CAPTIONING_HOME", str(home))
    assert run.execute(NOTEBOOKS[0], tmp_path, "photos").failure == ""


@each_notebook
def test_is_built_as_the_others_are(path):
    notebook = read(path)
    cells, code = notebook.cells, page.code_cells(notebook)
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    body = "\n".join(cell.source for cell in code)
    assert re.match(r"# \S", cells[0].source) and len(re.findall(r"^# \S", prose, re.M)) == 1, (
        "one H1, in the first cell"
    )
    assert sum("parameters" in page.tags(cell) for cell in code) == 1, "one cell tagged `parameters`"
    assert any("result" in page.tags(cell) for cell in code), "a cell tagged `result`"
    for section in ("Summary", "Exercises"):
        assert re.search(rf"^#+ .*{section}", prose, re.M | re.I), f"a section called {section}"
    assert "assert_close" in body, "what is derived is asserted to equal the package"
    assert not re.search(r"^\s*[!%]\s*pip|sys\.path|^from \S+ import \*", body, re.M), (
        "no installs, paths, star imports"
    )


@each_notebook
def test_cells_are_short_and_led_by_prose(path):
    notebook = read(path)
    cells = [cell for cell in notebook.cells if cell.source.strip()]
    lengths = [sum(1 for line in cell.source.splitlines() if line.strip()) for cell in page.code_cells(notebook)]
    led = sum(before.cell_type == "markdown" for before, cell in pairwise(cells) if cell.cell_type == "code")
    runs = [len(list(group)) for kind, group in groupby(cells, key=lambda cell: cell.cell_type) if kind == "code"]
    assert max(lengths) <= 40
    assert sum(length <= 15 for length in lengths) >= 0.75 * len(lengths)
    assert max(runs) <= 6
    assert led >= 0.6 * len(lengths)


@each_notebook
def test_is_committed_with_the_outputs_of_one_full_run(path):
    notebook = read(path)
    code = page.code_cells(notebook)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert page.find_failure(notebook) == ""
    assert "widgets" not in notebook.metadata
    assert path.stat().st_size <= 1 << 20


@each_notebook
def test_every_answer_has_a_solution_and_a_check(path):
    cells = read(path).cells
    for before, cell, after in zip(cells, cells[1:], cells[2:], strict=False):
        if "answer" in page.tags(cell):
            assert SOLUTION.search(before.source), "a folded solution stands above it"
            assert "assert" in after.source, "a cell that checks it stands below it"


def test_nothing_is_defined_in_two_notebooks():
    definitions = Counter()
    for path in NOTEBOOKS:
        body = "\n".join(cell.source for cell in page.code_cells(read(path)))
        definitions.update(set(re.findall(r"^(?:class|def) (\w+)", body, re.M)))
    assert [name for name, count in definitions.items() if count > 1] == []


def read(path):
    return nbformat.read(path, as_version=4)


def solved(notebook):
    """The notebook with the folded solution above each cell tagged `answer` in its place."""
    for before, cell in pairwise(notebook.cells):
        if "answer" in page.tags(cell):
            cell.source = SOLUTION.search(before.source)[1]
    return notebook
