import os
import re
import signal
import subprocess
import sys
import time
from functools import partial

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from captioning.course import page, run
from captioning.data.pictures import PHOTOGRAPHS

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SHOW_PIXEL = f"""import base64
from IPython.display import Image
Image(base64.b64decode("{PIXEL}"))"""
PARAMETERS = new_code_cell("profile = 'mini'", metadata={"tags": ["parameters"]})


def result(source):
    return new_code_cell(source, metadata={"tags": ["result"]})


def write(folder, name, *cells):
    folder.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=[*cells]), folder / name)


@pytest.fixture(scope="module")
def two_chapters(tmp_path_factory):
    """A notebook that raises in its fourth code cell, and a good one after it; both run."""
    code, output = tmp_path_factory.mktemp("my code"), tmp_path_factory.mktemp("my output")
    write(
        code,
        "01_bad.ipynb",
        new_markdown_cell(
            "# A bad notebook\n\n![a picture](figures/none.png)\n\nIt *fails* half-way. [Next](02_good.ipynb)."
        ),
        PARAMETERS,
        new_code_cell("raise KeyError('meant')", metadata={"tags": ["raises-exception"]}),
        new_code_cell("raise ValueError('found 3, expected <4>')"),
        new_code_cell("never = 'reached'"),
    )
    write(
        code,
        "02_good.ipynb",
        new_markdown_cell("# A good notebook\n\nIt shows one pixel. [Results](../docs/results.md)."),
        PARAMETERS,
        new_markdown_cell("## The pixel"),
        result(SHOW_PIXEL),
        new_markdown_cell(
            "It is one dot.\n\n**One `dot` is\nenough (Figure 1).** **More are not (Table 2).**",
            metadata={"tags": ["finding"]},
        ),
        new_markdown_cell("## The table"),
        result("import sys; print(f'{profile=} & {sys.executable}'); print('a warning', file=sys.stderr)"),
        new_code_cell("print('in the notebook only')"),
        new_code_cell(
            "from tqdm import tqdm; from tqdm.auto import tqdm as widget\n"
            "for number in widget(range(2)): pass\nfor number in tqdm(range(2)): pass"
        ),
    )
    return code, output, run.run((), "smoke", code, output)


def test_goes_on_after_a_failure_and_says_where_it_was(two_chapters):
    bad, good = two_chapters[2]
    assert (bad.name, bad.failure) == ("01_bad", "cell 4: ValueError: found 3, expected <4>")
    assert (good.name, good.failure) == ("02_good", "")
    assert 0 < good.minutes < 1


def test_writes_what_was_executed(two_chapters):
    _, output, _ = two_chapters
    good = nbformat.read(output / "02_good.ipynb", as_version=4)
    assert [cell.execution_count for cell in page.code_cells(good)] == [1, 2, 3, 4, 5, 6]
    bad = nbformat.read(output / "01_bad.ipynb", as_version=4)
    assert [cell.execution_count for cell in page.code_cells(bad)] == [1, 2, 3, 4, None]
    assert "in the notebook only" in (output / "02_good.html").read_text()


def test_the_kernel_is_this_python_and_gets_the_profile(two_chapters):
    printed = two_chapters[2][1].results[1].html
    assert f"profile=&#x27;smoke&#x27; &amp; {sys.executable}" in printed
    assert "a warning" not in printed


def test_chapters_lead_to_pages_and_only_name_what_has_none(two_chapters):
    _, output, _ = two_chapters
    bad, good = ((output / f"{name}.html").read_text() for name in ("01_bad", "02_good"))
    assert '<a href="02_good.html">Next</a>' in bad and "Results." in good and "results.md" not in good
    assert "(02_good.ipynb)" in (output / "01_bad.ipynb").read_text(), "the notebook is as it was written"
    for file in output.glob("*.html"):
        text = re.sub(r"<(script|style)\b.*?</\1>", "", file.read_text(), flags=re.S)
        found = re.findall(r'<a\b[^>]*? href="([^"#]+)', text)
        assert [link for link in found if not re.match(r"\w+:", link) and not (output / link).exists()] == []


def test_the_page_shows_both_chapters_and_the_results_only(two_chapters):
    page = (two_chapters[1] / "index.html").read_text()
    assert "A bad notebook" in page and "It <em>fails</em> half-way." in page
    assert "cell 4: ValueError: found 3, expected &lt;4&gt;" in page
    assert "1 of 2 notebooks ran to" in page
    assert f"data:image/png;base64,{PIXEL}" in page and "<h3>The pixel</h3>" in page
    assert "in the notebook only" not in page
    assert 'href="02_good.html"' in page


def test_a_chapter_is_told_by_its_finding(two_chapters):
    bad, good = two_chapters[2]
    assert bad.finding == "" and good.finding == "One <code>dot</code> is\nenough."


def test_the_style_of_a_table_is_not_that_of_the_page():
    shown = pd.DataFrame({"a": [1]}, index=["one"])._repr_html_()
    assert "<style scoped>" in shown
    told = page.to_html(new_output("display_data", {"text/html": shown}), "A table")
    assert "style>" not in told and "<table" in told and "<td>1</td>" in told


def test_the_page_opens_with_photographs_and_a_caption_word_by_word(two_chapters):
    text = (two_chapters[1] / "index.html").read_text()
    before = text[: text.index('aria-label="Notebooks"')]
    assert before.count("<figure><img") == len(PHOTOGRAPHS) - 1 and "<script" not in text
    assert ".</figcaption>" in before and " .</figcaption>" not in before
    assert before.count('class="veil"') == before.count('class="word"') > 5


def test_the_page_fits_a_telephone(two_chapters, browser):
    view = browser.new_page(viewport={"width": 400, "height": 800})
    view.goto((two_chapters[1] / "index.html").as_uri())
    assert view.evaluate("document.documentElement.scrollWidth") <= 400
    word = view.locator(".word").nth(2)
    word.click()
    view.wait_for_function("getComputedStyle(document.querySelector('.word:has(input:checked) .veil')).opacity == 1")


def test_the_page_needs_nothing_from_elsewhere(two_chapters):
    page = (two_chapters[1] / "index.html").read_text()
    assert "http://" not in page and "https://" not in page


def test_neither_bars_nor_complaints_about_them_are_kept(two_chapters):
    notebook = nbformat.read(two_chapters[1] / "02_good.ipynb", as_version=4)
    assert notebook.cells[-1].outputs == [] and notebook.cells[-2].outputs[0].text == "in the notebook only\n"
    assert "widgets" not in notebook.metadata


def test_only_runs_the_chosen_and_the_page_keeps_the_others(tmp_path):
    code, output = tmp_path / "code", tmp_path / "output"
    for name in ("01_one.ipynb", "02_two.ipynb"):
        write(code, name, new_markdown_cell(f"# {name}"), PARAMETERS)
    run.run(["01"], "smoke", code, output)
    (chapter,) = run.run(["02"], "smoke", code, output)
    assert chapter.name == "02_two"
    page = (output / "index.html").read_text()
    assert "01_one.ipynb" in page and "02_two.ipynb" in page


def test_two_at_a_time_and_in_the_order_of_what_they_go_on_from(tmp_path):
    code, stamp = tmp_path / "code", "import time; print(time.time()); time.sleep({}); print(time.time())"
    for number, seconds in (("01", 2), ("02", 0), ("07", 1), ("10", 0)):
        write(code, f"{number}_it.ipynb", PARAMETERS, result(stamp.format(seconds)))
    chapters = run.run((), "smoke", code, tmp_path / "output", jobs=2)
    begun, ended = zip(*(map(float, re.findall(r"[\d.]{9,}", c.results[0].html)) for c in chapters), strict=True)
    assert [chapter.name[:2] for chapter in chapters] == ["01", "02", "07", "10"]
    assert begun[2] < ended[0]  # at the same time
    assert begun[1] > ended[0] and begun[3] > max(ended[:3])


def test_what_lies_on_the_longest_way_goes_first(tmp_path):
    for number in ("03", "08"):
        write(tmp_path / "code", f"{number}_it.ipynb", PARAMETERS, result("import time; print(time.time())"))
    chapters = run.run((), "smoke", tmp_path / "code", tmp_path / "output")
    third, eighth = (float(re.search(r"[\d.]{9,}", chapter.results[0].html)[0]) for chapter in chapters)
    assert [chapter.name[:2] for chapter in chapters] == ["03", "08"] and eighth < third


def test_what_chapters_share_is_made_before_them(tmp_path):
    for number in ("01", "05"):
        write(tmp_path / "code", f"{number}_it.ipynb", PARAMETERS, result("import time; print(time.time())"))
    made = {}
    begin = partial(run.run, profile="smoke", code=tmp_path / "code", output=tmp_path / "output", jobs=2)
    chapters = begin((), prepare=lambda part: made.update({part: time.time()}))
    assert [*made] == ["fashion", "writer", "street", "pupils"]
    first, fifth = (float(re.search(r"[\d.]{9,}", chapter.results[0].html)[0]) for chapter in chapters)
    assert first > made["fashion"] and fifth > made["pupils"]
    made.clear()
    begin(["01"], prepare=lambda part: made.update({part: time.time()}))
    assert [*made] == ["fashion"]


def test_a_chapter_has_threads_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setitem(run.THREADS, "02", {"OMP_NUM_THREADS": "7"})
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tell = new_code_cell("import os; print('threads', os.environ['OMP_NUM_THREADS'])")
    for number in ("01", "02"):
        write(tmp_path, f"{number}_it.ipynb", PARAMETERS, tell)
    run.run((), "smoke", tmp_path, tmp_path / "out")
    told = [(tmp_path / "out" / f"{number}_it.ipynb").read_text() for number in ("01", "02")]
    assert "threads 1" in told[0] and "threads 7" in told[1]


def test_ctrl_c_reaches_the_notebook_and_keeps_what_it_had_computed(tmp_path):
    begun, wait = tmp_path / "begun", "import pathlib, time; pathlib.Path({!r}).touch(); time.sleep(100)"
    cells = PARAMETERS, new_code_cell("print(6 * 7)"), new_code_cell(wait.format(str(begun)))
    write(tmp_path / "code", "01_it.ipynb", *cells)
    script = "import signal; from pathlib import Path; from captioning.course import run; "
    script += "signal.signal(signal.SIGINT, signal.default_int_handler); "  # in the background it is ignored
    script += "run.run((), 'smoke', Path('code'), Path('out'))"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not begun.exists():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0 and "KeyboardInterrupt" in said
    kept = nbformat.read(tmp_path / "out" / "01_it.ipynb", as_version=4)
    assert kept.cells[2].outputs[0].text == "42\n"
    assert page.find_failure(kept).startswith("cell 4: KeyboardInterrupt")
    assert not list((tmp_path / "out").glob("*.partial"))


def test_a_number_without_a_notebook(tmp_path):
    write(tmp_path / "code", "01_one.ipynb", PARAMETERS)
    with pytest.raises(ValueError, match="no notebook has the number 07; there are: 01"):
        run.run(["07"], "smoke", tmp_path / "code", tmp_path / "output")


def test_the_profile_photos_has_some_of_the_chapters(tmp_path):
    for number in ("01", "04"):
        write(tmp_path / "code", f"{number}_it.ipynb", PARAMETERS, result("1"))
    [chapter] = run.run((), "photos", tmp_path / "code", tmp_path / "output")
    assert chapter.name == "01_it"
    with pytest.raises(ValueError, match="no notebook has the number 04; there are: 01"):
        run.run(["04"], "photos", tmp_path / "code", tmp_path / "output")


def test_a_notebook_without_parameters_fails_alone(tmp_path):
    write(tmp_path / "code", "01_one.ipynb", new_code_cell("1"))
    write(tmp_path / "code", "02_two.ipynb", PARAMETERS)
    one, two = run.run((), "smoke", tmp_path / "code", tmp_path / "output")
    assert "01_one.ipynb has 0 cells tagged `parameters`" in one.failure and not two.failure


def test_a_kernel_that_dies_is_a_failure(tmp_path):
    write(tmp_path / "code", "01_dies.ipynb", PARAMETERS, new_code_cell("import os; os._exit(9)"))
    (chapter,) = run.run((), "smoke", tmp_path / "code", tmp_path / "output")
    assert chapter.failure.startswith("cell 3: DeadKernel")


def test_the_command_line_ends_non_zero_and_names_the_notebook(two_chapters, monkeypatch, capsys):
    monkeypatch.setenv("CAPTIONING_PROFILE", "smoke")  # which the command sets for its notebooks
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(run, "run", lambda only, profile, **how: two_chapters[2])
    assert run.main(["--profile", "smoke"]) == 1
    assert "FAILED 01_bad.ipynb, cell 4: ValueError: found 3" in capsys.readouterr().err.replace("\n", " ")
    monkeypatch.setattr(run, "run", lambda only, profile, **how: two_chapters[2][1:])
    assert run.main(["--profile", "smoke", "--only", "02"]) == 0


def test_the_notebooks_are_those_of_the_package_wherever_runs_are_kept(tmp_path):
    asked = [sys.executable, "-m", "captioning.course.run", "--only", "99"]
    ended = subprocess.run(asked, capture_output=True, text=True, env=os.environ | {"CAPTIONING_HOME": str(tmp_path)})
    assert "no notebook has the number 99; there are: 01, 02" in ended.stderr
