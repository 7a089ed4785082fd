"""The questions that OFA is asked, and the styles in them: found in the table that a model knows, and named by words or
by a reserved token."""

from __future__ import annotations

from difflib import get_close_matches

PLAIN = " what does the image describe?"
BY_WORDS = PLAIN + " reply in personality {}."
MATCHING = ' does the image describe " {} " in personality {}?'
MASKED = ' what is the complete text of " {} " in personality {}?'
QUESTIONS = (BY_WORDS, MATCHING, MASKED)


def find_style(name: str, styles: list[str]) -> str:
    """The style of the table that `name` means: letter case and blanks at its ends do not matter, nor a small slip of
    spelling when one style alone is near. ValueError names the nearest styles otherwise."""
    asked = name.strip().casefold()
    same = [style for style in styles if style.casefold() == asked]
    if len(same) == 1:
        return same[0]
    folded = {style.casefold(): style for style in styles}
    near = [folded[found] for found in get_close_matches(asked, folded, n=3, cutoff=0.6)]
    if len(get_close_matches(asked, folded, n=2, cutoff=0.9)) == 1:
        return near[0]
    raise ValueError(f"style {name!r} is not one of the {len(styles)} known; nearest: {', '.join(near) or 'none'}")


def style_name(name: str, styles: list[str], by: str = "words") -> str:
    """How a prompt names a style: by "words", or by its "token" `<code_i>`, i being its place in the table."""
    style = find_style(name, styles)
    if by not in ("words", "token"):
        raise ValueError(f"by={by!r}, expected 'words' or 'token'")
    return style if by == "words" else f"<code_{styles.index(style)}>"
