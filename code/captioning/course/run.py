"""Run the course's notebooks and build the page that shows what came out.

    python -m captioning.course.run --profile mini --only 01,02

Writes output/course/NN_*.ipynb (executed), NN_*.html (the same, to read) and index.html: of every notebook the title,
the first paragraph, whether it ran, its minutes, and what its cells tagged `result` showed.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from captioning import paths
from captioning.course.page import Chapter, code_cells, read_chapter, tags, write_page
from captioning.course.standalone import chapter_pages, notebook_html
from captioning.writing import write

console = Console(stderr=True, highlight=False)
PARTS = ("fashion", "writer", "street", "pupils", "vizwiz")  # what chapters share: `captioning prepare --part` makes it
PHOTOS = ("01", "02", "03", "08", "09")  # the chapters that the profile photos has
THREADS: dict[str, dict[str, str]] = {}  # settings of its own for the process of a part or a chapter
KERNELS: set[int] = set()  # the processes of the notebooks that run
# what a part or a chapter goes on from
AFTER = {
    **{f"{number:02}": {"fashion"} for number in range(1, 11)},
    "street": {"fashion", "writer"},
    "pupils": {"street"},
    "vizwiz": {"fashion"},
    "02": {"fashion", "01"},
    "03": {"fashion", "02"},
    "04": {"street"},
    "05": {"pupils"},
    "06": {"vizwiz"},
    "08": {"fashion", "02"},
}
AFTER["10"] = {"fashion", *(f"{number:02}" for number in range(1, 10))}
# what is ready goes in this order: by the minutes of the longest way that begins with it and ends before chapter 10
FIRST = ("fashion", "01", "02", "writer", "09", "street", "vizwiz", "pupils", "08", "06", "03", "07", "04", "05", "10")


def run(
    only: Sequence[str] = (),
    profile: str = "mini",
    code: Path = Path(__file__).parents[2],
    output: Path = paths.OUTPUT / "course",
    jobs: int = 1,
    prepare: Callable[[str], None] = lambda part: None,
) -> list[Chapter]:
    """Execute the notebooks whose numbers are in `only` (all that the profile has by default), `jobs` at a time.

    What they share is made first, part by part, by `prepare(part)`; each begins when what it goes on from (`AFTER`) is
    there. A notebook that fails does not stop the others. Returns their chapters, in order; the page also keeps the
    notebooks of earlier runs. `code` is where the notebooks lie (they run there too), `output` where the results go.

    Raises NoSuchNotebook for a number in `only`. After Ctrl-C what the running notebooks had computed is kept.
    """
    everything = sorted(code.glob("[0-9][0-9]_*.ipynb"))
    offered = [path for path in everything if path.name[:2] in PHOTOS] if profile == "photos" else everything
    chosen = {path.name[:2]: path for path in choose(offered, only)}
    output.mkdir(parents=True, exist_ok=True)
    waiting = sorted([*parts_of(chosen), *chosen], key=lambda name: (*FIRST, name).index(name))
    running, chapters = {}, {}
    with bars() as progress, ThreadPoolExecutor(jobs) as pool:

        def step(name: str) -> Chapter | None:
            if name in chosen:
                return chapter_of(chosen[name], output, profile, progress)
            return make_part(name, prepare, progress)

        try:
            while waiting or running:
                unfinished = {*waiting, *running.values()}
                ready = [name for name in waiting if not AFTER.get(name, set()) & unfinished]
                for name in ready[: jobs - len(running)]:
                    waiting.remove(name)
                    running[pool.submit(step, name)] = name
                for finished in wait(running, return_when=FIRST_COMPLETED).done:
                    chapters[running.pop(finished)] = finished.result()
                    write_page(output, [output / other.name for other in everything])
        except KeyboardInterrupt:
            interrupt_kernels()
            raise
    return [chapters[name] for name in chosen]


def parts_of(names: Iterable[str]) -> list[str]:
    """The parts that these chapters need, and what those go on from."""
    needed = {*names}
    for part in reversed(PARTS):  # a part goes on from earlier ones only
        if any(part in AFTER.get(name, ()) for name in needed):
            needed.add(part)
    return [part for part in PARTS if part in needed]


def chapter_of(notebook: Path, output: Path, profile: str, progress: Progress) -> Chapter:
    """Execute one notebook; what keeps it from beginning is a failure like any other."""
    try:
        return execute(notebook, output, profile, progress)
    except (ValueError, RuntimeError, OSError) as error:  # no notebook, no parameters cell, no kernel, a full disk
        return Chapter(notebook.stem, notebook.stem, "", "", profile, 0.0, str(error), [])


def make_part(part: str, prepare: Callable[[str], None], progress: Progress) -> None:
    task = progress.add_task(f"preparing {part}", total=1)
    prepare(part)
    progress.advance(task)


def prepare_apart(part: str) -> None:
    """Make a part in a process of its own; if that fails the chapters that need it tell where."""
    command = [sys.executable, "-m", "captioning", "prepare", "--part", part]
    subprocess.run(command, stdout=subprocess.DEVNULL, env=os.environ | THREADS.get(part, {}), check=False)


class NoSuchNotebook(ValueError):
    """A number that no notebook has."""


def choose(notebooks: list[Path], only: Sequence[str]) -> list[Path]:
    """The notebooks whose names begin with one of the numbers in `only`; all when it is empty."""
    numbers = {path.name[:2] for path in notebooks}
    if unknown := [number for number in only if number not in numbers]:
        raise NoSuchNotebook(
            f"no notebook has the number {', '.join(unknown)}; there are: {', '.join(sorted(numbers))}"
        )
    return [path for path in notebooks if not only or path.name[:2] in only]


def execute(source: Path, output: Path, profile: str, progress: Progress | None = None) -> Chapter:
    """Run one notebook in a fresh kernel of this Python, in its own folder; write it and its HTML into `output`."""
    notebook = nbformat.read(source, as_version=4)
    set_profile(notebook, profile, source.name)
    where = {"metadata": {"path": str(source.parent)}}
    client = NotebookClient(notebook, kernel_name="python3", store_widget_state=False, resources=where)
    try:
        run_cells(client, source.stem, progress or bars())
    except CellExecutionError:
        pass  # the error is among the outputs of its cell, where find_failure sees it
    except DeadKernelError as error:
        record_death(notebook, error)
    drop_progress_bars(notebook)
    write(output / source.name, nbformat.writes(notebook))
    pages = chapter_pages(source.parent)
    write(output / pages[source.name], notebook_html(notebook, source, source.name, pages))
    return read_chapter(output / source.name)


def set_profile(notebook: NotebookNode, profile: str, name: str) -> None:
    """Empty the notebook of old results, and set `profile` right after its cell tagged `parameters`."""
    for cell in code_cells(notebook):
        cell.update(outputs=[], execution_count=None)
        cell.metadata.pop("execution", None)
    places = [index for index, cell in enumerate(notebook.cells) if "parameters" in tags(cell)]
    if len(places) != 1:
        raise ValueError(
            f"{name} has {len(places)} cells tagged `parameters`, expected one: tag the cell that sets profile"
        )
    injected = nbformat.v4.new_code_cell(f"profile = {profile!r}", metadata={"tags": ["injected-parameters"]})
    notebook.cells.insert(places[0] + 1, injected)
    notebook.metadata["course"] = {"profile": profile}


def bars() -> Progress:
    """A line for each notebook that runs: which, which cell and since when."""
    columns = (TextColumn("{task.description}  cell"), MofNCompleteColumn(), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def run_cells(client: NotebookClient, name: str, progress: Progress) -> None:
    task = progress.add_task(name, total=len(client.nb.cells))
    with client.setup_kernel(transport_encryption="auto", env=os.environ | THREADS.get(name[:2], {})):
        KERNELS.add(client.km.provisioner.pid)
        try:
            for index, cell in enumerate(client.nb.cells):
                client.execute_cell(cell, index)
                progress.advance(task)
        finally:
            KERNELS.discard(client.km.provisioner.pid)
    progress.stop_task(task)


def interrupt_kernels() -> None:
    """Ctrl-C for all running notebooks: the terminal's does not reach their kernels. Their cells end with an error."""
    for pid in KERNELS:
        os.kill(pid, signal.SIGINT)


def drop_progress_bars(notebook: NotebookNode) -> None:
    """Bars move while a notebook runs; in an executed one their steps and the line breaks after them would stay."""
    for cell in code_cells(notebook):
        cell.outputs = [output for output in cell.outputs if not is_bar(output)]


def is_bar(output: NotebookNode) -> bool:
    """Whether an output is a step of a progress bar of text, the line break after one, or a widget."""
    if "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
        return True
    text = output.get("text", "of another kind")
    return text.startswith("\r") or not text.strip()


def record_death(notebook: NotebookNode, error: DeadKernelError) -> None:
    """Put the death of the kernel, which could say nothing itself, among the outputs of the cell that was running."""
    running = [cell for cell in code_cells(notebook) if "execution" in cell.metadata][-1]
    said = f"{error} (out of memory?)"
    running.outputs.append(nbformat.v4.new_output("error", ename="DeadKernel", evalue=said, traceback=[said]))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 0 when every notebook ran to its end, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m captioning.course.run", description="Run the course's notebooks.")
    parser.add_argument("--profile", choices=paths.PROFILES, default=paths.profile())
    parser.add_argument("--only", default="", metavar="01,02", help="the numbers of the notebooks to run")
    parser.add_argument("--jobs", type=int, help="notebooks at a time; by default 2, which share the cores; full: 1")
    chosen = parser.parse_args(arguments)
    jobs = chosen.jobs or (1 if chosen.profile == "full" else 2)
    numbers = [number for number in chosen.only.split(",") if number]
    os.environ["CAPTIONING_PROFILE"] = chosen.profile
    if jobs > 1:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # of several processes they would write over each other
    if jobs > 1 and len(numbers) != 1 and "OMP_NUM_THREADS" not in os.environ:
        cores = os.cpu_count() or 1
        os.environ["OMP_NUM_THREADS"] = str(max(1, cores // jobs))
        THREADS["10"] = {"OMP_NUM_THREADS": str(cores)}  # nothing else runs while the last one does
    try:
        chapters = run(numbers, chosen.profile, jobs=jobs, prepare=prepare_apart)
    except NoSuchNotebook as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        console.print("Interrupted; what was computed so far is in the notebook under output/course")
        return 130
    console.print(f"\nOpen {(paths.OUTPUT / 'course' / 'index.html').as_uri()}")
    for chapter in (failed := [chapter for chapter in chapters if chapter.failure]):
        console.print(f"FAILED {chapter.name}.ipynb, {chapter.failure}", markup=False)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
