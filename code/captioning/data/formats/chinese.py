"""Chinese sets as they are shipped: COCO-CN and Flickr8k-CN (a token file and lists of ids), MUGE (base64 pictures).

    COCO_val2014_000000000042#0<tab>一只猫       imageid.human-written-caption.txt, coco-cn_{train,val,test}.txt
    42<tab>/9j/4AAQ...                           IC_train.tsv
    {"image_id": "42", "text": ["红色连衣裙"]}    IC_train.jsonl

X. Li et al., COCO-CN, IEEE TMM 2019; X. Li et al., Adding Chinese Captions to Images, ICMR 2016; J. Lin et al., M6, KDD
2021.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePath

from captioning.data.archives import Member, within
from captioning.data.files import BrokenSource, field, first_line, read_json_lines, read_text
from captioning.data.formats.chat import first_entry
from captioning.data.formats.tree import Tree, split_of_file
from captioning.data.readers import Rows, new_row

TOKEN = re.compile(r"(\S+?)(?:\.jpg)?#\S*\d\s+(.*\S)")  # a picture's name, whose caption it is, the caption
BY_PEOPLE = re.compile("human|zhc")  # in the names of COCO-CN's and Flickr8k-CN's files of captions that people wrote


def find_tokens(tree: Tree) -> list[PurePath]:
    """The file of captions by people, where others are translations; else all that there are."""
    found = _tokens(tree)
    return [path for path in found if BY_PEOPLE.search(path.stem)] or found


def _tokens(tree: Tree) -> list[PurePath]:
    some = [path for path in tree.named(".txt") if "caption" in path.stem.lower()]
    return [path for path in some if TOKEN.match(first_line(tree.folder / path))]


def read_tokens(tree: Tree, files: list[PurePath], split: str) -> Rows:
    """A row a picture, in the split whose list (*train*.txt, ...) has it; without lists in `split`."""
    if len(files) > 1:
        raise BrokenSource(f"{tree.folder}: captions in {' and '.join(map(str, files))}; keep one of them there")
    path = tree.folder / files[0]
    captions: dict[str, list[str]] = defaultdict(list)
    for number, line in enumerate(read_text(path).split("\n"), 1):
        found = TOKEN.fullmatch(line.strip())
        if line.strip() and not found:
            raise BrokenSource(f"{path}, line {number}: {line[:60]!r}, expected `name#0`, a tab and a caption")
        if found:
            captions[found[1]].append(found[2])
    lists = {each: split_of_file(each, "") for each in tree.named(".txt") if each != files[0]}
    splits = {name: told for each, told in lists.items() if told for name in read_text(tree.folder / each).split()}
    more = ", ".join(str(each) for each in _tokens(tree) if each not in files)
    unread = {"unread": f"{more}: translations; move {files[0]} away to read them"} if more else {}
    for name, texts in captions.items():
        told = splits.get(name, splits.get(f"{name}.jpg", "" if splits else split))
        if not told:
            raise BrokenSource(f"{path}: {name!r} is in none of {', '.join(map(str, lists))}; add it to one")
        yield told, new_row(tree.folder, tree.place(name, path), texts, path) | unread
        unread = {}  # once is enough


def find_muge(tree: Tree) -> list[PurePath]:
    """The files of texts, IC_train.jsonl (or, as Chinese-CLIP has it, train_texts.jsonl), with pictures beside them."""
    return [path for path in tree.named(".jsonl") if pictures(tree, path) and _is_muge(first_entry(tree.folder / path))]


def _is_muge(entry: object) -> bool:
    return isinstance(entry, dict) and bool({"image_id", "image_ids"} & entry.keys())


def pictures(tree: Tree, texts: PurePath) -> PurePath | None:
    beside = [texts.with_suffix(".tsv"), texts.with_name(texts.stem.replace("texts", "imgs") + ".tsv")]
    return next((path for path in beside if path in tree.files), None)


def read_muge(tree: Tree, files: list[PurePath], split: str) -> Rows:
    """A row a picture of the .tsv, which stays as it is: `archives` reads the base64 there. Test has no texts."""
    for path in files:
        captions: dict[str, list[str]] = defaultdict(list)
        for entry in read_json_lines(tree.folder / path):
            ids = entry.get("image_ids", [entry.get("image_id")])
            text = entry.get("text") or []
            for image_id in ids:
                captions[str(image_id)] += text if isinstance(text, list) else [field(entry, "text", path, str)]
        told = split_of_file(path, split)
        archive = tree.folder / pictures(tree, path)
        for member in lines(archive):
            row = {"image": within(archive, member), "image_id": member.name.removesuffix(".jpg")}
            yield told, row | {"captions": captions.get(row["image_id"]) or None}


def lines(table: Path) -> Iterator[Member]:
    """The pictures of a .tsv of ids and base64, as members of it."""
    offset = 0
    with table.open("rb") as file:
        for line in file:
            image_id, tab, data = line.rstrip(b"\r\n").partition(b"\t")
            if not tab:
                raise BrokenSource(f"{table}: {line[:60]!r}, expected an id, a tab and base64; get the file again")
            yield Member(f"{image_id.decode()}.jpg", offset + len(image_id) + 1, len(data))
            offset += len(line)
