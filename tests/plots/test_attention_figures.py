"""Attention over a picture: the right panels, the light in the right place."""

import numpy as np
import pytest
from PIL import Image

from captioning.models.encoder import cell_boxes
from captioning.plots.figures import attention_panels, spotlight

WHITE = Image.new("RGB", (40, 20), "white")
BOXES = cell_boxes(2, 2).numpy()


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.images]


def test_the_light_falls_on_the_box_that_is_looked_at():
    light = spotlight(WHITE, np.array([0.0, 0.0, 0.0, 1.0]), BOXES)[..., 0]
    assert light.shape == (20, 40)
    assert light[15, 30] > 0.85  # the middle of the box at the bottom right, a little blurred
    assert light[5, 10] == pytest.approx(0.2, abs=0.02)  # the middle of the box opposite: dark


def test_even_attention_lights_the_whole_picture():
    assert spotlight(WHITE, np.full(4, 0.25), BOXES) == pytest.approx(1, abs=0.01)


def test_small_boxes_with_the_same_weight_are_brighter():
    boxes = np.array([[0, 0, 0.5, 1], [0.5, 0, 1, 0.5]])
    light = spotlight(WHITE, np.array([0.5, 0.5]), boxes)[..., 0]
    assert light[10, 10] < 0.8 < light[4, 30]


def test_a_panel_a_word_after_the_picture_itself():
    weights = np.full((3, 4), 0.25)
    assert titles(attention_panels(WHITE, ["a", "red", "hat"], weights, BOXES)) == ["", "a", "red", "hat"]


def test_chosen_words_are_shown_where_they_stand_first():
    words = ["a", "hat", "and", "a", "hat"]
    weights = np.full((5, 4), 0.25)
    weights[1] = [1, 0, 0, 0]
    figure = attention_panels(WHITE, words, weights, BOXES, show={"hat", "belt"})
    assert titles(figure) == ["", "hat"]
    pixels = figure.axes[1].images[0].get_array()
    assert pixels[5, 10, 0] > 0.8 and pixels[15, 30, 0] < 0.3  # the first "hat" looked at the top left


def test_frames_stand_around_what_the_shown_words_mean():
    words, frames = ["a", "hat", "ring"], [None, (0.5, 0.0, 1.0, 0.5), None]
    figure = attention_panels(WHITE, words, np.full((3, 4), 0.25), BOXES, show={"hat", "ring"}, frames=frames)
    whole, hat, ring = (axes.patches for axes in figure.axes[:3])
    assert (len(whole), len(hat), len(ring)) == (0, 1, 0)
    assert hat[0].get_bbox().extents.tolist() == [20, 0, 40, 10]


def test_many_words_go_on_in_further_rows():
    figure = attention_panels(WHITE, list("abcdefgh"), np.full((8, 4), 0.25), BOXES, columns=3)
    assert len(figure.axes) == 9 and len(titles(figure)) == 9


def test_words_that_do_not_fit_the_weights_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 4\), expected 3 words x 4 boxes"):
        attention_panels(WHITE, ["a", "red", "hat"], np.full((2, 4), 0.25), BOXES)
