"""The captioner that comes with the package: small, whole, and as good as its card says."""

import json
import re
import struct

import pytest

import captioning
from captioning.cli import main
from captioning.data.pictures import PHOTOGRAPHS
from captioning.evaluation.results import RESULTS, read_results
from captioning.serving import inference
from captioning.serving.inference import PHOTO_CAPTIONER

CARD = (PHOTO_CAPTIONER / "README.md").read_text(encoding="utf-8")
RECORD = json.loads((PHOTO_CAPTIONER / "photographs.json").read_text())


def test_it_is_small_has_16_bits_and_leaves_its_eyes_to_their_package():
    assert sum(path.stat().st_size for path in PHOTO_CAPTIONER.iterdir()) <= 12e6
    with (PHOTO_CAPTIONER / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    header.pop("__metadata__", None)
    assert {tensor["dtype"] for tensor in header.values()} == {"F16"}
    assert not [name for name in header if name.startswith("encoder.")]


@pytest.mark.parametrize("photograph", PHOTOGRAPHS, ids=lambda path: path.stem)
def test_it_says_of_a_photograph_what_is_recorded(photograph):
    assert captioning.caption(photograph) == RECORD[photograph.stem]["shipped"]


def test_who_names_no_model_is_told_once_which_it_is(capsys, monkeypatch):
    inference.shipped.cache_clear()
    for _ in range(2):
        captioning.caption(PHOTOGRAPHS[0])
    assert capsys.readouterr().err.count("no model is named") == 1
    inference.shipped.cache_clear()
    words = ["captioning", "caption", str(PHOTOGRAPHS[0]), "--workers", "0", "--weights", "fp32"]
    monkeypatch.setattr("sys.argv", words)
    main()
    out, err = capsys.readouterr()
    assert out == f"{PHOTOGRAPHS[0]}\t{RECORD[PHOTOGRAPHS[0].stem]['shipped']}\n"
    assert err.count("no model is named") == 1 and "6,000 photographs" in err


def test_its_card_has_the_numbers_of_the_results():
    rows = [row for row in read_results(RESULTS) if row["run"] in RUNS]
    assert {row["run"] for row in rows} == RUNS
    written = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|", CARD, re.M)
    table = {name.strip(): cells for name, *cells in written if "[" in cells[0]}
    assert len(table) == 10  # three models, each with beams and greedily, and four controls
    for name, cells in table.items():
        found = {
            tuple(f"{float(row[m]):.3f} [{float(row[m + ' low']):.3f}, {float(row[m + ' high']):.3f}]" for m in METRICS)
            for row in rows
            if row["model"] == name
        }
        assert tuple(cell.strip() for cell in cells) in found, name


METRICS = ("BLEU-4", "ROUGE-L", "CIDEr-D")
RUNS = {"flickr8k_photos", "flickr8k_photos_rl", "photo_captioner"}
