"""Flickr8k and Flickr30k as they are shipped and as Kaggle has them: a table of files and captions at the top.

    image,caption                                   captions.txt
    image_name| comment_number| comment             results.csv
    1000092795.jpg#0<tab>Two young guys ...         Flickr8k.token.txt, results_20130124.token

Without the official lists val and test are held out, as `readers.flickr` does it.
"""

from __future__ import annotations

import re
from pathlib import PurePath

from captioning.data.files import first_line
from captioning.data.formats.tree import Tree
from captioning.data.readers import FLICKR_CAPTIONS, Rows, flickr

FIRST = re.compile(r"\S+\.jpg#\d\t|image(_name)?\s*[,|]")  # what such a file begins with


def find(tree: Tree) -> list[PurePath]:
    some = [path for path in map(PurePath, FLICKR_CAPTIONS) if path in tree.files]
    return [path for path in some if FIRST.match(first_line(tree.folder / path))][:1]


def read(tree: Tree, files: list[PurePath], split: str) -> Rows:
    yield from flickr(tree.folder, name="flickr30k")
