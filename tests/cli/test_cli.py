"""The commands: each from its arguments to what it prints, writes and exits with."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
import yaml
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image

from captioning import cli, paths
from captioning.cli import completion, parser
from captioning.course.fashion import ENCODERS, FASHION_DECODING, fashion_recipe
from captioning.data import sources
from captioning.data.batches import picture_tensor
from captioning.decoding.config import Decoding
from captioning.evaluation import results, splits
from captioning.models import saved
from conftest import TINY_DECODERS

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "code" / "configs").glob("*.yaml"))
SIZES = {"train": 24, "val": 8, "test": 8}
SETTINGS = {
    "encoder": {"name": "resnet10t", "args": {"channels": [8, 16, 32, 64], "stem_width": 8}, "weights": None}
    | {"image_size": 64},
    "recipe": {"max_length": 40, "workers": 0},
    "training": {"epochs": 1, "batch_size": 8, "lr": 0.01, "log_every": 1},
    "decoding": {"beams": 2, "max_length": 12},
}
BEAM = Decoding(beams=2, max_length=12)
REGIONS = {
    "detector": "fasterrcnn_mobilenet_v3_large_320_fpn",
    "weights": "null",
    "image_size": 64,
    "regions": 4,
    "args": '{"min_size": 64, "max_size": 64}',
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home folder with a tiny mini-fashion, for the whole file."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "DATASET", folder / "dataset")
        patch.setattr(paths, "OUTPUT", folder / "output")
        patch.setattr(splits, "FEATURES", folder / "output" / "features")
        patch.setattr(sources, "load", partial(sources.load, sizes=SIZES, size=64))
        patch.setattr(sources, "check", partial(sources.check, workers=0))
        (folder / "settings.yaml").write_text(yaml.safe_dump(SETTINGS))
        yield folder


def arguments(kind, home, *more):
    decoder = [f"--decoder.{name}={value}" for name, value in TINY_DECODERS[kind].items()]
    return ["train", kind, "--config", home / "settings.yaml", *decoder, *more]


def call(*argv):
    """Exit status, and what was given to `sys.exit` to be printed on stderr."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["captioning", *map(str, argv)])
        patch.setenv("PATH", "")  # a machine without Java
        patch.setenv("COLUMNS", "200")  # of the tables
        try:
            cli.main()
        except SystemExit as leave:
            return (1, leave.code) if isinstance(leave.code, str) else (leave.code or 0, "")
    return 0, ""


@pytest.fixture
def command(home, capfd):
    """`command(*arguments)`: (exit status, stdout, stderr)."""

    def run(*argv):
        capfd.readouterr()
        status, message = call(*argv)
        out, err = capfd.readouterr()
        return status, out, err + message

    return run


@pytest.fixture(scope="module")
def run(home):
    """`run(kind)`: the folder of a trained captioner, trained when first asked for."""

    def folder(kind):
        there = home / "output" / f"{kind}_minifashion"
        if not there.exists():
            assert call(*arguments(kind, home)) == (0, "")
        return there

    return folder


@pytest.fixture
def photos(home, tmp_path):
    """Three of the data set's pictures in a folder of their own, one of them further down."""
    pictures = list(sources.load("minifashion", paths.DATASET / "minifashion")["test"]["image"])[:3]
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    for source, name in zip(pictures, ("a.jpg", "b.png", "deep/c.jpg"), strict=True):
        Image.open(source).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


kinds = pytest.mark.parametrize("kind", TINY_DECODERS)


@kinds
def test_train_leaves_a_run_that_says_how_it_was_made(run, home, kind):
    folder = run(kind)
    described = json.loads((folder / "experiment.json").read_text())
    assert {"config.json", "log.jsonl", "best", "last", "experiment.json"} <= {path.name for path in folder.iterdir()}
    assert (described["data"], described["folder"]) == ("minifashion", str(home / "dataset" / "minifashion"))
    assert described["decoding"] == asdict(BEAM)
    assert described["command"].startswith(f"python -m captioning train {kind} --config ")
    model = saved.load(folder)
    assert model.kind == kind and asdict(model.config).items() >= TINY_DECODERS[kind].items()  # options over the file


@kinds
def test_evaluate_prints_the_model_and_its_controls_and_writes_predictions(run, command, kind):
    status, out, _ = command("evaluate", run(kind), "--split", "test")
    assert status == 0
    lines = [[cell.strip() for cell in line.split("│")] for line in out.replace("┃", "│").splitlines()]
    rows = {line[1]: line[2:-1] for line in lines if len(line) > 2 and line[1]}
    assert list(rows) == [kind, *results.CONTROLS]
    [header] = [line for line in lines if "BLEU-1" in line]
    assert header[2:-1] == ["BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr-D", "attributes"]
    assert "METEOR needs Java" in out
    data, model = sources.load("minifashion", paths.DATASET / "minifashion")["test"], saved.load(run(kind))
    expected = splits.caption_rows(model, data, BEAM, splits.split_features(model, data))
    written = json.loads((run(kind) / "predictions_test.json").read_text())
    assert written == [{"image_id": image_id, "caption": caption} for image_id, caption in expected.items()]
    score = splits.scorer(data)(expected)["BLEU-1"]
    assert rows[kind][0] == f"{score:.3f}"


def test_record_adds_rows_and_recording_the_same_again_replaces_them(run, command, tmp_path, monkeypatch):
    table = tmp_path / "results.csv"
    monkeypatch.setattr(results, "record", partial(results.record, path=table))
    monkeypatch.setattr(results, "results_markdown", partial(results.results_markdown, path=table))
    for options in ([], ["--decoding", '{"beams": 1, "max_length": 9}'], []):
        assert command("evaluate", run("gru"), "--split", "test", "--record", *options)[0] == 0
    assert command("evaluate", run("gru"), "--record")[0] == 0
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["gru", *results.CONTROLS] * 3
    assert [row["split"] for row in rows] == ["test"] * 10 + ["val"] * 5
    assert [row["decoding"] for row in rows] == ["beam 1"] * 5 + ["beam 2"] * 10
    assert {row["n"] for row in rows} == {"8"}
    assert {row["run"] for row in rows} == {"gru_minifashion"} and all(float(row["minutes"]) > 0 for row in rows)
    status, out, _ = command("results", "--data", "minifashion")
    assert status == 0 and out == results.results_markdown("minifashion") + "\n"


def test_a_detectors_regions_serve_in_place_of_the_grid(home, command):
    options = [f"--regions.{name}={value}" for name, value in REGIONS.items()]
    folder = home / "output" / "regions"
    assert command(*arguments("attention", home, *options, "--run", folder))[0] == 0
    model = saved.load(folder)
    assert model.encoder.config.detector == REGIONS["detector"] and model.encoder.config.regions == 4


def test_the_same_command_again_returns_at_once_and_another_configuration_is_refused(run, home, command):
    run("gru")
    log = (home / "output" / "gru_minifashion" / "log.jsonl").read_text()
    status, out, _ = command(*arguments("gru", home))
    assert status == 0 and "best CIDEr-D on val" in out and "after epoch 1" in out
    assert (home / "output" / "gru_minifashion" / "log.jsonl").read_text() == log
    status, _, err = command(*arguments("gru", home, "--training.epochs", 2))
    assert_said(status, err, "holds a run of another configuration", "'epochs': (1, 2)")


def assert_said(status, err, *parts):
    """An error in words: the parts are in it, and no traceback is."""
    assert status in (1, 2)
    assert "Traceback" not in err
    for part in parts:
        assert part in err


@kinds
def test_caption_prints_what_generate_says(run, command, photos, kind):
    model, files = saved.load(run(kind)), [photos / "a.jpg", photos / "b.png", photos / "deep" / "c.jpg"]
    decoding = ["--decoding", json.dumps(asdict(BEAM))]
    status, out, _ = command("caption", photos, "--model", run(kind), "--workers", 0, *decoding)
    expected = [model.generate(picture_tensor(str(file), 64)[None], BEAM).best[0] for file in files]
    assert status == 0
    assert out.splitlines() == [f"{file}\t{text}" for file, text in zip(files, expected, strict=True)]


def test_caption_by_default_searches_with_3_beams_to_the_end_of_the_sentence(run, command, photos, tmp_path):
    model = saved.load(run("transformer"))
    out = tmp_path / "captions.csv"
    assert command("caption", photos / "a.jpg", "--model", run("transformer"), "--workers", 0, "--out", out)[0] == 0
    with out.open(newline="") as file:
        [row] = csv.DictReader(file)
    longest = Decoding(beams=3, max_length=model.config.max_length)
    assert row["caption"] == model.generate(picture_tensor(str(photos / "a.jpg"), 64)[None], longest).best[0]


@kinds
def test_what_is_said_of_decoding_changes_that_and_nothing_else(run, command, photos, kind, tmp_path):
    """Not the length, which a transformer has positions for, nor the beams."""
    model, picture = saved.load(run(kind)), picture_tensor(str(photos / "a.jpg"), 64)[None]
    words = ["caption", photos / "a.jpg", "--model", run(kind), "--workers", 0, "--weights", "fp32"]
    for options, changes in ("--decoding.min_length 3", {"min_length": 3}), ("--decoding.beams 5", {"beams": 5}):
        status, out, err = command(*words, *options.split())
        assert (status, out.rstrip().split("\t")[1:]) == (
            0,
            model.generate(picture, replace(model.usual, **changes)).best,
        ), err


def test_a_run_is_scored_as_it_was_trained_but_for_what_is_said(run, command, tmp_path):
    place = shutil.copytree(run("gru"), tmp_path / "run")
    for options, expected in ([], BEAM), (["--decoding.length_penalty", 0.5], replace(BEAM, length_penalty=0.5)):
        status, _, err = command("evaluate", place, "--split", "test", *options)
        assert status == 0, err
        assert json.loads((place / "scores_test.json").read_text())["decoding"] == asdict(expected)


def test_another_search_has_rows_of_its_own_and_so_has_another_split(run, command, tmp_path, monkeypatch):
    table = tmp_path / "results.csv"
    monkeypatch.setattr(results, "record", partial(results.record, path=table))
    assert command("evaluate", run("gru"), "--split", "test", "--record")[0] == 0
    for options in (["--split", "test"], ["--split", "val"]):
        name = ["--name", f"short, {options[1]}", "--decoding.length_penalty", 0.3]
        assert command("evaluate", run("gru"), "--record", *options, *name)[0] == 0
    rows = results.read_results(table)
    assert [row["decoding"] for row in rows] == ["beam 2"] * 5 + ["beam 2, length_penalty 0.3"] * 10
    said = results.results_markdown("minifashion", table)
    assert all(f"shuffled pictures ({name})" in said for name in ("gru", "short, test", "short, val"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train blip --adapters.rank 2", "--adapters without --lora"),
        ("distill gru TEACHER --start TEACHER --decoder.hidden 8", "leave one out"),
    ],
)
def test_sizes_of_what_is_not_made_are_refused(run, command, words, said):
    status, _, err = command(*words.replace("TEACHER", str(run("gru"))).split())
    assert status == 1 and said in err


def test_a_saved_model_teaches_and_captions_are_chosen_as_is_usual_for_it(run, command, tmp_path):
    saved.load(run("gru")).save_pretrained(tmp_path / "teacher")
    words = ["--data", "minifashion", "--run", tmp_path / "student", "--decoding.max_length", 12, "--decoder.hidden", 8]
    small = ["--recipe.max_length", 40, "--recipe.workers", 0, "--training.epochs", 1, "--training.batch_size", 8]
    status, _, err = command("distill", "gru", tmp_path / "teacher", *words, *small)
    assert status == 0, err
    described = json.loads((tmp_path / "student" / "experiment.json").read_text())
    assert described["decoding"] == asdict(Decoding(beams=3, max_length=12))


def test_caption_takes_files_folders_and_patterns_and_writes_json_lines(run, command, photos, tmp_path):
    out, places = tmp_path / "captions.jsonl", [photos / "b.png", photos / "deep", f"{photos}/*.jpg"]
    status, printed, _ = command("caption", *places, "--model", run("gru"), "--workers", 0, "--out", out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert (status, printed) == (0, "")
    assert [Path(row["image"]).name for row in rows] == ["b.png", "c.jpg", "a.jpg"]
    assert set(rows[0]) == {"image", "caption", "log_probability"}


def test_caption_goes_past_pictures_that_cannot_be_read_and_exits_with_1(run, command, photos):
    (photos / "empty.jpg").touch()
    (photos / "text.jpg").write_text("this is not a picture")
    (photos / "truncated.jpg").write_bytes((photos / "a.jpg").read_bytes()[:300])
    status, out, err = command("caption", photos, "--model", run("gru"), "--workers", 1, "--batch_size", 2)
    assert [Path(line.split("\t")[0]).name for line in out.splitlines()] == ["a.jpg", "b.png", "c.jpg"]
    assert_said(status, err, "empty.jpg: 0 bytes", "text.jpg", "truncated.jpg", "could not be read: 3 (above)")


def test_caption_goes_on_in_a_file_and_refuses_any_other(run, command, photos, tmp_path):
    out, words = tmp_path / "captions.jsonl", ["caption", photos, "--model", run("gru"), "--workers", 0, "--out"]
    assert command(*words, out)[0] == 0
    lines = out.read_text().splitlines(keepends=True)
    out.write_text(lines[0] + lines[1][:20])
    status, _, err = command(*words, out)
    assert status == 0 and "captions.jsonl: 1 of 3 pictures are captioned in it" in err
    assert out.read_text() == "".join(lines)
    (tmp_path / "other.jsonl").write_text("my diary\n")
    status, _, err = command(*words, tmp_path / "other.jsonl")
    assert_said(status, err, "other.jsonl does not come from this command")
    assert (tmp_path / "other.jsonl").read_text() == "my diary\n"


@pytest.mark.parametrize("weights", ["packed", "int8"])
def test_caption_with_weights_in_another_form(run, command, photos, weights):
    status, out, _ = command("caption", photos, "--model", run("transformer"), "--weights", weights, "--workers", 0)
    assert status == 0 and len(out.splitlines()) == 3
    status, _, err = command("caption", photos, "--model", "any", "--weights", weights, "--engine", "ray")
    assert_said(status, err, f"--weights {weights}: cannot be sent")


def test_caption_without_ray_says_how_to_get_it(run, command, photos, monkeypatch):
    monkeypatch.setattr("captioning.cli.common.find_spec", lambda name: None)
    status, _, err = command("caption", photos, "--model", run("gru"), "--engine", "ray")
    assert (status, err) == (1, "captioning: --engine ray needs Ray Data: pip install 'captioning[ray]'")


def test_errors_of_caption_are_one_clear_line(run, command, photos, tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise LocalEntryNotFoundError("check your internet connection")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    status, _, err = command("caption", photos, "--model", run("gru"), "--out", tmp_path / "captions.txt")
    assert_said(status, err, "captions.txt: suffix '.txt', expected .jsonl or .csv")
    status, _, err = command("caption", tmp_path / "nothing", "--model", run("gru"))
    assert_said(status, err, f"{tmp_path / 'nothing'}: no picture there; give files, folders or patterns")
    status, _, err = command("caption", photos, "--model", tmp_path / "typo")
    assert_said(status, err, f"{tmp_path / 'typo'}: no such folder")
    status, _, err = command("caption", photos, "--model", "nobody/nothing")
    assert_said(status, err, "nobody/nothing: no such folder, and no hub repository of this name can be had")
    (tmp_path / "half").mkdir()
    status, _, err = command("caption", photos, "--model", tmp_path / "half")
    assert_said(status, err, "half holds no saved model", "model.safetensors")


def test_errors_of_train_and_evaluate_are_one_clear_line(run, home, command, tmp_path):
    more = ["--encoder.weights", "nowhere.safetensors", "--run", tmp_path / "run"]
    status, _, err = command(*arguments("gru", home, *more))
    assert_said(status, err, "encoder weights 'nowhere.safetensors': no such file")
    status, _, err = command(*arguments("gru", home, "--decoder.hiden", 3))
    assert_said(status, err, "hiden")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    status, _, err = command(*arguments("gru", home, "--run", tmp_path / "mine", "--resume", "false"))
    assert_said(status, err, "holds files but no run")
    status, _, err = command("evaluate", tmp_path)
    assert_said(status, err, "give the folder of a run that `captioning train` has finished")
    status, _, err = command("evaluate", run("gru"), "--split", "tset")
    assert_said(status, err, "minifashion has the splits train, val, test, not 'tset'")


def test_an_unknown_verb_or_an_option_of_the_wrong_kind_is_a_usage_error(command):
    status, _, err = command("describe")
    assert status == 2
    assert_said(status, err, "describe", "caption")
    status, _, err = command("train", "gru", "--training.epochs", "many")
    assert status == 2
    assert_said(status, err, "epochs", "many")


def test_data_says_what_a_person_has_to_put_where(command, tmp_path):
    status, _, err = command("data", "deepfashion", "--folder", tmp_path / "deepfashion")
    assert_said(status, err, f"Put these into {tmp_path / 'deepfashion'}", "images/*.jpg", "--check")
    status, out, err = command("data", "deepfashion", "--folder", tmp_path / "deepfashion", "--check")
    assert "images/*.jpg" in out
    assert_said(status, err, "findings (above)")
    status, _, err = command("data", "flickr9k", "--folder", tmp_path / "flickr9k")
    assert_said(status, err, "flickr9k", "flickr8k")


def test_results_without_any_say_how_to_get_some(command):
    assert_said(
        *command("results", "--data", "nothing")[::2], "no row on 'nothing'", "captioning evaluate RUN --record"
    )


def settings_of(config, command):
    """What `--print_config` shows for a file of code/configs: DATA_VERB, DATA_DECODER or DATA_DECODER_distilled."""
    what = config.stem.split("_")[1]
    verb = [what, "output/run"] if what in ("reinforce", "rebuild") else ["train", what]
    verb = ["distill", what, "output/run"] if config.stem.endswith("_distilled") else verb
    status, out, err = command(*verb, "--config", config, "--print_config")
    assert status == 0, err
    return yaml.safe_load(out)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_parses_and_is_what_would_run(config, command):
    printed = settings_of(config, command)

    def compare(wanted, found, place):
        for name, value in wanted.items():
            if isinstance(value, dict) and name != "args":
                compare(value, found[name], f"{place}{name}.")
            elif isinstance(value, list) and isinstance(value[0], dict):
                for i, (each, one) in enumerate(zip(value, found[name], strict=True)):
                    compare(each, one, f"{place}{name}.{i}.")
            else:
                assert found[name] == value, f"{place}{name}"

    compare(yaml.safe_load(config.read_text()), printed, "")


def test_the_mini_fashion_configuration_is_what_the_notebooks_use(command):
    [config] = [path for path in CONFIGS if path.stem == "minifashion_transformer"]
    printed = settings_of(config, command)
    for found, profile in [
        (printed["encoder"], asdict(ENCODERS["mini"])),
        (printed["recipe"], asdict(fashion_recipe("mini"))),
        (printed["decoding"], asdict(FASHION_DECODING)),
    ]:
        assert found == json.loads(json.dumps(profile))


def test_flags_and_pictures_are_given_as_words():
    data, evaluate, caption = map(cli.component, ("data", "evaluate", "caption"))
    assert cli.arguments(data, ["flickr8k", "--check"]) == ['["flickr8k"]', "--check=true"]
    assert cli.arguments(caption, ["a.jpg", "--json", "true", "b.jpg"]) == ['["a.jpg", "b.jpg"]', "--json=true"]
    assert cli.arguments(evaluate, ["run", "--split", "test"]) == ["run", "--split", "test"]
    words = ["a b.jpg", "--model", "run", "--workers=0", "c/*.jpg"]
    assert cli.arguments(caption, words) == ['["a b.jpg", "c/*.jpg"]', "--model", "run", "--workers=0"]
    assert cli.arguments(caption, ["--help"]) == ["--help"]


def test_help_lists_the_verbs_without_importing_what_they_need():
    code = "import sys; sys.argv = ['captioning', '--help']; from captioning.cli import main; main(); "
    code += "print(*(name for name in ('torch', 'numpy', 'datasets', 'jsonargparse') if name in sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(f"captioning {verb.example}" in shown for verb in cli.VERBS.values())
    assert shown.endswith("interrupted\n\n")


def test_every_example_of_the_help_parses():
    for example in [*(verb.example for verb in cli.VERBS.values()), *cli.FIRST_SESSION]:
        command, function, words = cli.named(example.split())
        parser.options(function, command, cli.arguments(function, words))


def test_the_tab_key_knows_verbs_and_options(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "VERBS", {verb: cli.VERBS[verb] for verb in ("train", "data")})  # all take 10 s
    completion.completion("bash")
    (tmp_path / "script").write_text(capsys.readouterr().out)
    pressed = "COMP_WORDS=(captioning {}); COMP_CWORD={}; _shtab_captioning; echo ${{COMPREPLY[@]}};"
    keys = [("tr", 1, "train"), ("train tra", 2, "transformer"), ("data --che", 2, "--check")]
    script = f"source {tmp_path / 'script'};" + "".join(pressed.format(words, place) for words, place, _ in keys)
    said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.split() == [wanted for *_, wanted in keys]


def test_an_unknown_verb_and_the_traceback_on_demand(command, tmp_path):
    status, _, err = command("captions")
    assert status == 2 and "no verb 'captions'" in err and "did you mean 'caption'?" in err
    with pytest.raises(FileNotFoundError):
        command("evaluate", tmp_path, "--debug")


def score_files(folder):
    truth = {"1": ["a man rides a horse"], "2": ["two dogs play", "dogs run"], "3": ["a red bus"]}
    said = [{"image_id": int(i), "caption": captions[0]} for i, captions in truth.items()]
    (folder / "references.json").write_text(json.dumps(truth))
    (folder / "good.json").write_text(json.dumps(said))
    (folder / "poor.json").write_text(json.dumps(said[:2] + [{"image_id": 3, "caption": "a cat"}]))
    return [str(folder / name) for name in ("good.json", "references.json", "poor.json")]


def test_score_prints_tables_and_writes_json(tmp_path, command):
    good, references, poor = score_files(tmp_path)
    found = tmp_path / "found.json"
    status, out, _ = command("score", good, references, "--against", poor, "--train", references, "--out", found)
    assert status == 0
    for word in ("predictions", "against", "constant caption", "CIDEr-D", "paired permutation test", "diversity"):
        assert word in out
    assert "note: METEOR needs Java" in out
    found = json.loads(found.read_text())
    assert found["scores"]["predictions"]["n"] == 3
    assert found["scores"]["predictions"]["ROUGE-L"]["score"] == pytest.approx(1)
    assert found["scores"]["against"]["ROUGE-L"]["score"] == pytest.approx((1 + 1 + 1 / 3) / 3, abs=0.05)
    assert 0 < found["p"]["CIDEr-D"] <= 1


def test_programs_read_json(run, command, photos, tmp_path):
    """stdout is JSON and nothing else."""
    status, out, _ = command("evaluate", run("gru"), "--split", "test", "--json")
    found = json.loads(out)
    assert status == 0 and found == json.loads((run("gru") / "scores_test.json").read_text())
    assert list(found["scores"]) == ["gru", *results.CONTROLS] and found["scores"]["gru"]["n"] == 8
    status, out, _ = command("caption", photos, "--model", run("gru"), "--workers", 0, "--json")
    assert [set(json.loads(line)) for line in out.splitlines()] == [{"image", "caption", "log_probability"}] * 3
    good, references, _ = score_files(tmp_path)
    status, out, _ = command("score", good, references, "--json", "--out", tmp_path / "found.json")
    assert json.loads(out) == json.loads((tmp_path / "found.json").read_text())
    status, out, _ = command("data", "flickr8k", "--check", "--json", "--folder", photos)
    assert status == 1 and json.loads(out)[0].keys() >= {"kind", "detail"}
    status, out, _ = command("results", "--data", "flickr8k", "--json")
    assert {row["data"] for row in json.loads(out)} == {"flickr8k"}


def test_score_says_what_is_missing_and_strict_refuses_it(tmp_path, command):
    good, references, _ = score_files(tmp_path)
    truth = json.loads((tmp_path / "references.json").read_text())
    (tmp_path / "references.json").write_text(json.dumps(truth | {"4": ["a boat"]}))
    status, out, _ = command("score", good, references)
    assert status == 0 and "note: 1 of 4 pictures have no caption in predictions" in out
    status, _, err = command("score", good, references, "--strict")
    assert_said(status, err, "1 of 4 pictures have no caption in predictions")


def test_score_of_characters_reads_no_english_metrics_and_scores_what_caption_writes(tmp_path, command):
    (tmp_path / "references.json").write_text(json.dumps({"a.jpg": ["一个男人骑马"], "b.jpg": ["两只狗在雪地里"]}))
    lines = [{"image": "photos/a.jpg", "caption": "男人骑马"}, {"image": "photos/b.jpg", "caption": "两只狗"}]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    files = tmp_path / "said.jsonl", tmp_path / "references.json"
    status, out, _ = command("score", *files, "--language", "zh", "--strict")
    assert status == 0 and "note: METEOR reads English only" in out
    status, _, err = command("score", *files, "--strict")
    assert_said(status, err, "2 of 2 references are one word")
    status, _, err = command("score", *files, "--language", "zh", "--clip", tmp_path)
    assert_said(status, err, "--language zh: --legacy, --spice, --clip and --metrics read English; leave them out")


def test_reinforce_goes_on_from_a_run(run, home, command):
    options = ["--rl.samples", 2, "--rl.max_length", 100, "--training.epochs", 1, "--training.batch_size", 8]
    status, out, _ = command("reinforce", run("gru"), *options, "--training.log_every", 1)
    assert status == 0 and "gru_minifashion_rl: best CIDEr-D on val" in out
    folder = home / "output" / "gru_minifashion_rl"
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert {"reward", "baseline", "entropy", "length", "same", "novel"} <= log[0].keys()
    assert json.loads((folder / "config.json").read_text())["rl"]["samples"] == 2
    before, after = (saved.load(place).head.weight for place in (run("gru"), folder))
    assert not before.equal(after)
    assert command("evaluate", folder, "--name", "gru, self-critical")[0] == 0
