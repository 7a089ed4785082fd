#!/usr/bin/env bash
# webdataset 1.0.2: files whose names have a dot before their suffix become one sample, or none.
#
# A shard has c.0001.jpg with c.0001.txt, and c.0002.jpg with c.0002.txt. One would expect two samples, or an error. Seen:
# one sample, of the key c, with fields called 0001.jpg, 0001.txt, 0002.jpg, 0002.txt and neither `jpg` nor `txt`. Names
# without a dot (img2dataset's 000000001.jpg) are read as they are meant.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet webdataset==1.0.2
"$place/venv/bin/python" - "$place" <<'PYTHON'
import io
import sys
import tarfile
from pathlib import Path

import webdataset


def samples(shard, names):
    """(key, fields) of the samples that webdataset finds in a shard of these files."""
    with tarfile.open(shard, "w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    read = webdataset.WebDataset(str(shard), shardshuffle=False)
    return [(each["__key__"], sorted(key for key in each if not key.startswith("__"))) for each in read]


place = Path(sys.argv[1])
dotted = samples(place / "0.tar", [f"c.000{n}.{suffix}" for n in (1, 2) for suffix in ("jpg", "txt")])
plain = samples(place / "1.tar", [f"c_000{n}.{suffix}" for n in (1, 2) for suffix in ("jpg", "txt")])
print(f"with dots: {dotted}; without: {plain}")
assert dotted == [("c", ["0001.jpg", "0001.txt", "0002.jpg", "0002.txt"])], "behaviour changed: keys may have dots"
assert plain == [("c_0001", ["jpg", "txt"]), ("c_0002", ["jpg", "txt"])], "behaviour changed: plain keys"
PYTHON
