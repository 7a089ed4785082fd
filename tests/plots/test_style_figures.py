"""The figures about styles show the numbers that they are given."""

import numpy as np
import pandas as pd
import pytest

from captioning.plots import style_figures

BY_STYLE = pd.DataFrame({"style": [1.0, 0.8], "attributes": [0.9, 0.7]}, index=["Loud", "Sad"])


def test_a_dot_a_style_and_a_cross_a_control():
    figure = style_figures.style_scatter({"words": BY_STYLE}, {"near": (0.9, 0.5), "constant": (0.9, 0.49)}, plain=0.92)
    [axes] = figure.axes
    dots, mean, near, constant = (collection.get_offsets().tolist() for collection in axes.collections)
    assert dots == [[1.0, 0.9], [0.8, 0.7]] and mean == [[pytest.approx(0.9), pytest.approx(0.8)]]
    assert near == [[0.9, 0.5]] and constant == [[0.9, 0.49]]
    texts = {text.get_text(): text.xyann[1] for text in axes.texts}
    assert texts["near"] - texts["constant"] >= 0.04 and "plain captions 0.92" in texts


def test_every_share_of_a_confusion_is_written_but_zero():
    table = pd.DataFrame([[1.0, 0.0], [0.25, 0.75]], index=["Loud", "Sad"], columns=["Loud", "Sad"])
    figure = style_figures.confusion({"model": table, "people": table})
    assert [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes] == ["model", "people"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["1.00", ".25", ".75"]


def test_distances_are_sorted_by_their_mean():
    distances = pd.DataFrame([[0, 0.4, 0.8], [0.4, 0, 0.2], [0.8, 0.2, 0]], index=list("abc"), columns=list("abc"))
    [axes] = style_figures.style_changes(distances).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "c", "a"]
    assert np.allclose(axes.collections[-1].get_offsets()[:, 0], [0.3, 0.5, 0.6])
