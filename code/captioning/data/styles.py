"""The table of styles of a data set: those that it lists, and those that its captions have, which are not the same.

Personality-Captions lists its personalities in `personalities.txt`, under headings such as "Positive Traits", but has
captions of styles that are not in the list, and may list some that have no caption. Nothing is dropped: the table is
the union, and says of each style where it was found.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from captioning.data.files import existing, read_text

if TYPE_CHECKING:
    import pandas as pd
    from datasets import DatasetDict

LIST = "personalities.txt"


def listed_styles(folder: str | Path) -> list[str]:
    """The styles that `personalities.txt` in a folder of Personality-Captions lists, in its order; none without it."""
    path = existing(Path(folder), f"personality_captions/{LIST}", LIST)
    lines = read_text(path).splitlines() if path else []
    return list(dict.fromkeys(line.strip() for line in lines if line.strip() and "Trait" not in line))


def style_table(dataset: "DatasetDict", listed: list[str] | None = None) -> "pd.DataFrame":
    """A row a style: is it listed (if there is a list), and how many captions each split has of it.

    The listed ones come first, in their order, then the others by name. The index is what a model's `styles` should be:
    no caption of any split has a style that is not in it. Raises ValueError for a data set without styles.
    """
    import pandas as pd

    bare = [split for split, rows in dataset.items() if "style" not in rows.column_names]
    if bare:
        raise ValueError(
            f"no column `style` in {', '.join(bare)}; read Personality-Captions, or mini-fashion's variant"
        )
    counts = {split: pd.Series(rows["style"][:]).value_counts() for split, rows in dataset.items()}
    found = sorted(set().union(*(series.index for series in counts.values())))
    names = [*(listed or []), *(name for name in found if name not in (listed or []))]
    columns = {"listed": [name in listed for name in names]} if listed is not None else {}
    columns |= {split: series.reindex(names, fill_value=0).to_numpy() for split, series in counts.items()}
    return pd.DataFrame(columns, index=pd.Index(names, name="style"))


def unlisted(table: "pd.DataFrame") -> str:
    """A line that says which styles of the data are not listed, and which of the list have no caption."""
    captions = table.drop(columns="listed").sum(axis=1)
    new = ", ".join(f"{name} ({captions[name]} captions)" for name in table.index[~table["listed"]])
    empty = ", ".join(table.index[captions == 0])
    return f"{len(table)} styles; not in {LIST}: {new or 'none'}; in it but without a caption: {empty or 'none'}"
