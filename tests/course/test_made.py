"""What chapters share is trained once, and anew when its data or its recipe has changed."""

import time
from concurrent.futures import ThreadPoolExecutor

from datasets import Dataset, DatasetDict

from captioning.course.made import made
from captioning.evaluation.runs import OtherRun


def rows(caption):
    return Dataset.from_dict({"image_id": ["a"], "captions": [[caption]], "image": [__file__]})


def data(caption="a dog"):
    return DatasetDict(train=rows(caption), val=rows(caption))


def test_a_run_is_made_once(tmp_path):
    done, run = [], tmp_path / "run"

    def make():
        done.append(1)
        run.mkdir(exist_ok=True)

    for _ in range(2):
        assert made(run, make, data(), "recipe") == run
    assert len(done) == 1
    made(run, make, data(), "another recipe")
    made(run, make, data("a cat"), "another recipe")
    assert len(done) == 3


def test_who_comes_while_it_is_made_waits(tmp_path):
    done, run = [], tmp_path / "run"

    def make():
        run.mkdir()
        time.sleep(0.3)
        done.append(time.monotonic())

    def come(_):
        made(run, make, data())
        return time.monotonic()

    with ThreadPoolExecutor(2) as pool:
        back = list(pool.map(come, range(2)))
    assert len(done) == 1 and min(back) > done[0]


def test_a_run_of_another_recipe_is_replaced(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "old").touch()

    def make():
        if (run / "old").exists():
            raise OtherRun("found another")
        run.mkdir()

    made(run, make, data())
    assert [path.name for path in run.iterdir()] == ["made_of.txt"]
