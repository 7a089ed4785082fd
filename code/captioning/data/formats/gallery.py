"""A web page of pictures with their captions as text alternatives, to be looked at or heard. Written only.

W3C, Images Tutorial: a picture's `alt` says what it shows. A screen reader reads it once: the same words under the
picture are hidden from it, further captions are not.
"""

from __future__ import annotations

from html import escape
from pathlib import Path, PurePath
from urllib.parse import quote

from captioning.data.readers import Row
from captioning.writing import write as write_file

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 2rem auto; max-width: 75rem;
  padding: 0 1rem }}
ul {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1.5rem; padding: 0;
  list-style: none }}
figure {{ margin: 0 }}
img {{ width: 100%; aspect-ratio: 4 / 3; object-fit: contain; background: #eee }}
p {{ margin: .25rem 0 }}
.file {{ color: #555; font-size: .875rem; overflow-wrap: anywhere }}
@media (prefers-color-scheme: dark) {{ body {{ color: #eee; background: #1a1a1a }} img {{ background: #333 }}
  .file {{ color: #aaa }} }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<ul role="list">
{figures}
</ul>
</main>
</body>
</html>
"""


def write(rows: list[Row], path: Path) -> None:
    """A page that needs no script and nothing from the net; the pictures stay where they are."""
    captioned = sum(bool(row["captions"]) for row in rows)
    title = f"{len(rows):,} pictures" + (f", {captioned:,} with a caption" if captioned < len(rows) else "")
    write_file(path, PAGE.format(title=title, figures="\n".join(map(figure, rows))))


def figure(row: Row) -> str:
    """A picture with its first caption as its text alternative, and all of them under it; without one, it says so."""
    first, *others = row["captions"] or ["No caption yet: " + PurePath(row["file"]).name]
    more = "".join(f"<p>{escape(text)}</p>" for text in others) + f'<p class="file">{escape(row["file"])}</p>'
    return (
        f'<li><figure><img src="{quote(row["file"])}" alt="{escape(first)}" loading="lazy"><figcaption>'
        f'<p aria-hidden="true">{escape(first)}</p>{more}</figcaption></figure></li>'
    )
