"""The figures about styles show the numbers that they are given."""

import pandas as pd

from captioning.plots import style_figures

BY_STYLE = pd.DataFrame({"style": [1.0, 0.8], "attributes": [0.9, 0.7]}, index=["Loud", "Sad"])


def test_a_dot_a_style_of_each_system_and_a_line_from_one_to_the_next():
    after = pd.DataFrame({"style": [0.95, 0.7], "attributes": [0.92, 0.9]}, index=["Loud", "Sad"])
    figure = style_figures.style_scatter({"words": BY_STYLE, "truth": after}, plain=0.93)
    [axes] = figure.axes
    assert [dots.get_offsets().tolist() for dots in axes.collections] == [
        [[1.0, 0.9], [0.8, 0.7]],
        [[0.95, 0.92], [0.7, 0.9]],
    ]
    assert [line.get_xydata().tolist() for line in axes.lines[:2]] == [
        [[1.0, 0.9], [0.95, 0.92]],
        [[0.8, 0.7], [0.7, 0.9]],
    ]
    assert {"Loud", "Sad", "plain captions 0.93"} == {text.get_text() for text in axes.texts}
    low, high = axes.get_ylim()
    assert 0.6 < low < 0.7 and 0.93 < high < 1.0  # no empty corner


def test_every_share_of_a_confusion_is_written_but_zero():
    table = pd.DataFrame([[1.0, 0.0], [0.25, 0.75]], index=["Loud", "Sad"], columns=["Loud", "Sad"])
    figure = style_figures.confusion({"model": table, "people": table})
    assert [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes] == ["model", "people"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["1.00", ".25", ".75"]
