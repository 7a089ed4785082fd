"""The prose of every notebook: its numbers stand in the outputs beside it, its conclusions name what they are from."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from captioning.evaluation.results import read_results
from notebook_prose import faults

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((REPOSITORY / "code").glob("[0-9][0-9]_*.ipynb"))
RESULTS = [{"run": "photos_rl", "CIDEr-D": "0.569512", "minutes": "48.2"}]
TABLE = "<style>td {width: 0.33em}</style><table><tr><td>0.72</td><td>1.50</td></tr></table>"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_says_what_it_shows(path):
    assert faults(nbformat.read(path, as_version=4), read_results(REPOSITORY / "output" / "results.csv")) == []


def built(prose: str, code: str = "# Table 1: scores\nrate = 0.1", text: str = "half of them: 0.5"):
    """A notebook of a code cell, with a table and something printed, and the prose after it."""
    shown = [
        new_output("stream", text=text),
        new_output("display_data", {"text/html": TABLE, "text/plain": "<Styler>"}),
    ]
    return new_notebook(cells=[new_code_cell(code, outputs=shown), new_markdown_cell(prose)])


@pytest.mark.parametrize(
    "prose",
    [
        "It is 0.72, or .72, or 72 %, or 72%, or 72 percent; half is 0.50.",  # shown, printed
        "At a rate of 0.1, which is 10 %.",  # the code has it
        "`photos_rl` reaches 0.570, or 0.5695, or 57.0 %.",  # recorded, to three digits
        "$p = 0.9$ and $$0.8 \\cdot 0.7$$, `clip=0.6` and [a link](https://example.org/v0.4)",
        "```python\nx = 0.123\n```\n<details><summary>Solution</summary></details><img width='31.5%'>",
        "Since 2017, chapter 03 (section 4.2 and 4.2.1) and arXiv 1612.00563; Python 3.12, BLEU-4, LM-1.7B, LM2.5.",
        "In brackets: 95 % intervals, or 95 % bootstrap intervals.",
        "300 pictures and 1,000 more",
    ],
)
def test_a_number_that_is_shown_or_is_no_measurement_is_no_fault(prose):
    assert faults(built(prose), RESULTS) == []


@pytest.mark.parametrize(
    ("prose", "wrong"),
    [
        ("It is 0.73.", "0.73"),
        ("It is 0.72 and .721", ".721"),
        ("73 % of them", "73 %"),
        ("a gain of 1.51 in **bold 1.51**", "1.51"),
        ("0.33", "0.33"),  # a width in the table's style shows nobody anything
        ("0.570, but of which run?", "0.570"),
        ("`photos_rl` has 0.57", "0.57"),  # two digits fit some result or other
        ("`photos_rl` has 0.571", "0.571"),
        ("95 % of the captions", "95 %"),
    ],
)
def test_a_number_that_nothing_shows_is_found(prose, wrong):
    assert {fault.split(" stands in no output")[0] for fault in faults(built(prose), RESULTS)} == {wrong}


@pytest.mark.parametrize(
    "prose",
    [
        "**Rewards raise what they count (Table 1).**",
        "**Rewards raise\nthe score**, and **Table 1 says so in every row**",
        "**Four words are emphasis**, no conclusion",
        "`**kwargs and other words here**`",
    ],
)
def test_a_conclusion_that_names_its_table_is_no_fault(prose):
    assert faults(built(prose), []) == []


@pytest.mark.parametrize(
    "prose",
    [
        "**Rewards raise what they count.**",
        "**Rewards raise what they count (Figure 1).**",
        "**Rewards raise what they count (Tables 1 and 2).**",
        "Table 1: **rewards raise what they count.**",
    ],
)
def test_a_conclusion_without_what_it_is_from_is_found(prose):
    [fault] = faults(built(prose), [])
    assert "Rewards raise" in fault or "rewards raise" in fault


def test_a_conclusion_comes_after_its_table():
    notebook = built("**Rewards raise what they count (Table 1).**")
    notebook.cells.reverse()
    assert len(faults(notebook, [])) == 1


def test_several_tables_and_figures_are_named_at_once():
    notebook = built("**All of them agree on that (Tables 1 and 2, Figures 1 to 2).**")
    for label in ("Table 2", "Figure 1", "Figure 2"):
        notebook.cells.insert(-1, new_code_cell(f"# {label}: more"))
    assert faults(notebook, []) == []


@pytest.mark.parametrize("label", ["# Table 3: a gap", "# Table 1: twice", "# Figure 2: not the first"])
def test_tables_and_figures_count_up_from_one(label):
    notebook = built("")
    notebook.cells.append(new_code_cell(label))
    [fault] = faults(notebook, [])
    assert "do not count up from 1" in fault
