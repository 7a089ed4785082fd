"""SPICE (Anderson et al. 2016), computed by its own Java program, which the package pycocoevalcap carries.

The parser that it reads captions with, Stanford CoreNLP 3.6.0, is not carried and must be downloaded by hand. This
module was tested with a stand-in for Java only, never with the parser.
"""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from captioning.metrics.base import Captioned, Measured, Unavailable
from captioning.metrics.meteor import find_in_pycocoevalcap, find_java, run_java

PARSER = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
SOURCE = "http://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip"


class Spice:
    """SPICE of English captions against their references.

    jars: a folder with the parser's two files, where pycocoevalcap's own folder spice/lib does not have them.
    java: the Java to use, a name or a path. The program writes its scores with the JavaScript of Java 8 to 14; a later
    Java needs nashorn-core and its ASM jars in the folder too.

    Raises Unavailable when any of it is missing, and RuntimeError, when called, if the Java program fails.
    """

    def __init__(self, jars: Path | None = None, java: str = "java") -> None:
        self.java = find_java("SPICE", java)
        self.jar = find_in_pycocoevalcap("SPICE", "spice/spice-1.0.jar")
        folders = [self.jar.parent / "lib", *([] if jars is None else [Path(jars).absolute()])]
        _check(self.java, folders)
        # what lies in spice/lib, the program finds by itself
        self.classpath = os.pathsep.join([str(self.jar), *(str(folder / "*") for folder in folders[1:])])

    def __call__(self, captioned: Captioned) -> Measured:
        """The mean of the pictures' F scores: not a number, as in coco-caption, when that of any picture is not."""
        pictures = [
            {"image_id": i, "test": " ".join(words), "refs": [" ".join(r) for r in references]}
            for i, (words, references) in enumerate(zip(captioned.words, captioned.reference_words, strict=True))
        ]
        with tempfile.TemporaryDirectory() as folder:
            given, written = Path(folder, "captions.json"), Path(folder, "scores.json")
            given.write_text(json.dumps(pictures))
            # without the program's -cache: its database needs a native library and the inside of Java opened to it
            arguments = ["edu.anu.spice.SpiceScorer", str(given), "-out", str(written), "-silent"]
            run_java([self.java, "-Xmx8G", "-cp", self.classpath, *arguments])
            scores = json.loads(written.read_text())
        f = {picture["image_id"]: picture["scores"]["All"]["f"] for picture in scores}
        return Measured.mean("SPICE", np.array([f[i] for i in range(len(pictures))], dtype=float))  # None becomes NaN


def _check(java: str, folders: list[Path]) -> None:
    if missing := [name for name in PARSER if not any((folder / name).is_file() for folder in folders)]:
        place = folders[-1] if len(folders) > 1 else f"{folders[0]} or a folder named by jars="
        raise Unavailable(f"SPICE needs {' and '.join(missing)}, of {SOURCE}: put them into {place}")
    version = _version(java)
    if version > 14 and not any(any(folder.glob("nashorn-core*.jar")) for folder in folders):
        cure = f"name a Java 8 to 14 with java=, or put nashorn-core and its ASM jars into {folders[-1]}"
        raise Unavailable(f"SPICE's program needs the JavaScript that Java {version} no longer has: {cure}")


def _version(java: str) -> int:
    """8 of 1.8.0_402, 17 of 17.0.15."""
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=True).stderr
    return int(re.search(r'version "(?:1\.)?(\d+)', said)[1])
