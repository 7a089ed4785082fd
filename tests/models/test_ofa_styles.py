"""Styles: found in spite of letter case and small slips, refused with the nearest names, told in two ways."""

import pytest

from captioning.models.ofa.styles import find_style, style_name

STYLES = ["Sweet", "Dramatic", "Destructive", "Money-minded"]


@pytest.mark.parametrize("asked", ["Destructive", "destructive", " DESTRUCTIVE ", "Destuctive"])
def test_case_and_small_slips_are_forgiven(asked):
    assert find_style(asked, STYLES) == "Destructive"


def test_unknown_and_ambiguous_styles_name_the_nearest():
    with pytest.raises(ValueError, match="'Drastic'.*Dramatic"):
        find_style("Drastic", STYLES)
    with pytest.raises(ValueError, match="Sweets.*Sweaty|Sweaty.*Sweets"):
        find_style("Sweety", ["Sweets", "Sweaty"])
    with pytest.raises(ValueError, match="nearest: none"):
        find_style("zzz", STYLES)


def test_the_two_ways_of_telling_a_style():
    assert style_name("sweet", STYLES) == "Sweet"
    assert style_name("dramatic", STYLES, by="token") == "<code_1>"
    with pytest.raises(ValueError, match="expected 'words' or 'token'"):
        style_name("sweet", STYLES, by="tokens")
