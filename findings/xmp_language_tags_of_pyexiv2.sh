#!/usr/bin/env bash
# pyexiv2 2.16.0 (Exiv2 0.28.8): it reads descriptions in languages that it cannot write back.
#
# A language tag may have several subtags: zh-Hans-CN, sl-rozaj-biske. Exiv2's XMP parser reads a description with such
# a tag, and hands it out in small letters. Its type for texts in several languages writes a tag with one hyphen at most:
# what `read_xmp` has just returned is refused by `modify_xmp` ("Invalid LangAlt value"), and one such tag of another
# program keeps all the others from being written, too. A tag with one hyphen goes through, but not as it was: zh-Hans
# comes back as zh-hans. One would expect that what is read can be written.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet pyexiv2==2.16.0
"$place/venv/bin/python" - <<'PYTHON'
import pyexiv2

assert (pyexiv2.__version__, pyexiv2.__exiv2_version__) == ("2.16.0", "0.28.8")
KEY = "Xmp.dc.description"
TEXTS = """<?xml version="1.0" encoding="UTF-8"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>{}</rdf:Alt></dc:description></rdf:Description>
</rdf:RDF></x:xmpmeta>"""


def again(*tags):
    """What is read of descriptions in these languages, and what is read of them once they were written back."""
    parts = "".join(f'<rdf:li xml:lang="{tag}">a bridge</rdf:li>' for tag in ("x-default", *tags))
    with pyexiv2.ImageData(TEXTS.format(parts).encode()) as image:
        read = image.read_xmp()
        try:
            image.modify_xmp(read)
        except RuntimeError as error:
            return list(read[KEY])[1:], str(error).split(" `")[0]
        with pyexiv2.ImageData(image.get_bytes()) as written:
            return list(read[KEY])[1:], list(written.read_xmp()[KEY])[1:]


for tags in (["en-GB"], ["zh-Hans"], ["zh-Hans-CN"], ["sl-rozaj-biske"], ["en-GB", "zh-Hans-CN"]):
    print(*tags, "->", *again(*tags))
assert again("en-GB") == (['lang="en-GB"'], ['lang="en-GB"']), "behaviour changed"
assert again("zh-Hans") == (['lang="zh-hans"'], ['lang="zh-hans"']), "behaviour changed: the script's letters are kept"
for tags in (["zh-Hans-CN"], ["sl-rozaj-biske"], ["en-GB", "zh-Hans-CN"]):
    assert again(*tags)[1] == "Invalid LangAlt value", f"behaviour changed: {tags} is written"
PYTHON
