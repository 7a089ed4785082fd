"""The figures about styles show the numbers that they are given."""

import pandas as pd

from captioning.plots import style_figures

BY_STYLE = pd.DataFrame({"style": [1.0, 0.8], "attributes": [0.9, 0.7]}, index=["Loud", "Sad"])


def test_a_panel_a_style_with_a_dot_a_system_and_a_line_from_one_to_the_next():
    after = pd.DataFrame({"style": [0.95, 0.7], "attributes": [0.92, 0.9]}, index=["Loud", "Sad"])
    figure = style_figures.style_panels({"words": BY_STYLE, "truth": after}, {"truth": [BY_STYLE, after]}, plain=0.93)
    loud, sad, *unused = figure.axes
    assert [axes.get_title("left") or axes.get_title() for axes in (loud, sad)] == ["Loud", "Sad"]
    assert not any(axes.collections for axes in unused)
    assert [dots.get_offsets().tolist() for dots in loud.collections] == [
        [[1.0, 0.9]],
        [[0.95, 0.92]],
        [[1.0, 0.9], [0.95, 0.92]],  # the other seeds
    ]
    assert sad.lines[0].get_xydata().tolist() == [[0.8, 0.7], [0.7, 0.9]]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["words", "truth", "truth, other seeds", "plain captions 0.93"]


def test_every_share_of_a_confusion_is_written_but_zero():
    table = pd.DataFrame([[1.0, 0.0], [0.25, 0.75]], index=["Loud", "Sad"], columns=["Loud", "Sad"])
    figure = style_figures.confusion({"model": table, "people": table})
    assert [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes] == ["model", "people"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["1.00", ".25", ".75"]
