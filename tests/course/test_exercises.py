"""The checked exercises of the notebooks: the folded solution passes the check beside it."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "code").glob("[0-9][0-9]_*.ipynb"))
CHECK = re.compile(r"# Check of exercise (\d+)\n")


def checked():
    """(notebook, number of the exercise, its solution, its check) for each check of this form."""
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        for cell in cells:
            if cell.cell_type == "code" and (found := CHECK.match(cell.source)):
                [solution] = re.findall(
                    rf"<summary>Solution of {found[1]}</summary>.*?```python\n(.*?)```", prose, re.S
                )
                yield pytest.param(solution, cell.source, id=f"{path.stem}-{found[1]}")


@pytest.mark.parametrize(("solution", "check"), list(checked()))
def test_the_folded_solution_passes_its_check(solution, check, capsys):
    here = {"np": np}
    exec(solution, here)
    exec(check, here)
    assert capsys.readouterr().out == "right\n"
