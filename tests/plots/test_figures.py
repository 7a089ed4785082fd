"""Figures hold what they were given: the right numbers, the right words, the right colours."""

from itertools import combinations

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from captioning.metrics.score import Scorer
from captioning.plots import figures

mpl.use("Agg")
REFERENCES = {"a": ["a man in a hat"], "b": ["a lady in a long skirt"], "c": ["a lady with a ring on her finger"]}


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_style_changes_what_is_drawn_afterwards():
    with mpl.rc_context():
        figures.style()
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"] == list(figures.PALETTE)
        assert len(set(figures.PALETTE)) == len(figures.PALETTE)


def test_a_figure_is_not_pyplots_so_a_notebook_shows_it_once():
    figures.blank(2, 2)
    assert plt.get_fignums() == []


def test_curve_has_the_points_of_the_log():
    log = [{"epoch": 0.5, "loss": 3.0}, {"epoch": 1.0, "loss": 2.0}, {"epoch": 1.0, "val/score": 0.7}]
    left, right = figures.training_curve(log, "BLEU-4").axes
    assert left.lines[0].get_xydata().tolist() == [[0.5, 3.0], [1.0, 2.0]]
    assert right.lines[0].get_xydata().tolist() == [[1.0, 0.7]]
    assert right.get_title("left") + right.get_title() == "BLEU-4"


def test_no_dot_of_a_curve_is_cut_and_epochs_are_whole_numbers():
    log = [{"epoch": n / 2, "loss": 3.0} for n in range(5)]
    log += [{"epoch": 1.0, "val/score": 1.98}, {"epoch": 2.0, "val/score": 1.97}]
    _, right = figures.training_curve(log).axes
    assert right.get_ylim() == pytest.approx((0, 1.08 * 1.98))
    assert all(tick == int(tick) for tick in right.get_xticks())


def test_live_curve_draws_at_most_so_often_but_always_after_an_epoch(monkeypatch):
    display = pytest.importorskip("IPython.display")
    shown, times = [], iter([0.0, 0.0, 0.4, 0.6, 0.6, 1.8, 1.8])

    class Handle:
        def update(self, figure):
            shown.append(figure)

    def first(figure, display_id):
        shown.append(figure)
        return Handle()

    monkeypatch.setattr(display, "display", first)
    watch, log = figures.LiveCurve(every=1.0, clock=lambda: next(times)), []
    drawn = []
    for record in ({"loss": 3.0}, {"loss": 2.0}, {"val/score": 0.5}, {"loss": 1.0}):
        log.append({"epoch": len(log)} | record)
        watch(log)
        drawn.append(len(shown))
    assert drawn == [1, 1, 2, 3]
    assert shown[1].axes[1].lines[0].get_xydata().tolist() == [[2, 0.5]]


def test_captions_stand_below_their_pictures_with_what_is_wrong_in_red():
    images = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    captions = ["a denim skirt " * 10, "a hat", ""]
    marks = [{"lower": True, "hat": True}, {"hat": True, "outer_fabric": False}, {"hat": False}]
    figure = figures.caption_grid(images, captions, marks, columns=2)
    first, second, third, unused = figure.axes
    assert first.images[0].get_array()[0, 0].tolist() == [255, 0, 0] and not unused.images
    assert " ".join(texts(first)[0].split()) == ("a denim skirt " * 10).strip() and "\n" in texts(first)[0]
    assert texts(first)[1:] == ["2 of 2 attributes right", ""]
    assert texts(second) == ["a hat", "1 of 2 attributes right", "wrong: outer fabric"]
    assert second.texts[1].get_color() != second.texts[2].get_color() != second.texts[0].get_color()
    assert texts(third)[0] == "(empty)" and texts(unused) == []


def test_a_caption_keeps_its_line_breaks():
    figure = figures.caption_grid([Image.new("RGB", (8, 8))], ["first: a hat\nkept: a cap"], columns=1)
    assert texts(figure.axes[0]) == ["first: a hat\nkept: a cap"]


def test_captions_do_not_overlap_the_pictures_below():
    images = [Image.new("RGB", (8, 8))] * 4
    figure = figures.caption_grid(images, ["word " * 40] * 4, [{"hat": False}] * 4, columns=2)
    figure.canvas.draw()
    lowest = min(text.get_window_extent().y0 for text in figure.axes[0].texts)
    assert lowest > figure.axes[2].get_window_extent().y1
    assert min(text.get_window_extent().y0 for text in figure.axes[2].texts) >= 0


def test_pictures_alone():
    figure = figures.caption_grid([Image.new("RGB", (8, 8))] * 3, columns=3)
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 1] and not any(map(texts, figure.axes))


def test_bars_have_scores_and_intervals_the_first_system_at_the_top():
    scorer = Scorer(REFERENCES)
    scores = {
        "model": scorer({name: captions[0] for name, captions in REFERENCES.items()}),
        "constant": scorer(dict.fromkeys(REFERENCES, "a lady in a hat")),
    }
    bleu, rouge = figures.score_bars(scores, ["model"], ["BLEU-1", "ROUGE-L", "attributes"]).axes
    assert [round(bar.get_width(), 6) for bar in rouge.patches] == [round(scores[n]["ROUGE-L"], 6) for n in scores][
        ::-1
    ]
    assert [label.get_text() for label in bleu.get_yticklabels()] == ["constant", "model"]
    colours = [mpl.colors.to_hex(bar.get_facecolor()) for bar in bleu.patches]
    assert colours == [figures.PALE, figures.BLUE]
    ends = bleu.collections[0].get_segments()[0][:, 0]
    assert ends == pytest.approx(scores["constant"].table().loc["BLEU-1", ["low", "high"]].to_numpy())


def test_a_value_without_an_interval_has_a_bar_and_no_line():
    found = {"model": (0.8, 0.7, 0.9), "base": (0.5, 0.5, 0.5)}
    [axes] = figures.interval_bars({"CIDEr-D": found}, ["model", "base"]).axes
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0.8]
    [line] = [segment for segment in axes.collections[0].get_segments() if len(segment)]
    assert line[:, 0] == pytest.approx([0.7, 0.9])


def test_panels_have_a_bar_a_row_and_grey_ones_for_controls():
    table = pd.DataFrame({"fabric": [0.9, 0.2], "small things": [0.5, 1.0]}, index=["model", "constant"])
    left, right = figures.panel_bars(table, ["model"]).axes
    assert [bar.get_width() for bar in left.patches] == [0.2, 0.9]  # the first row at the top
    assert [label.get_text() for label in left.get_yticklabels()] == ["constant", "model"]
    assert [mpl.colors.to_hex(bar.get_facecolor()) for bar in right.patches] == [figures.PALE, figures.BLUE]
    assert texts(right) == ["1.00", "0.50"] and right.get_title("left") + right.get_title() == "small things"


def test_more_models_than_colours_are_still_no_controls():
    names = [f"model {i}" for i in range(8)]
    bars = figures.panel_bars(pd.DataFrame({"all": [0.5] * 9}, index=[*names, "constant"]), names).axes[0].patches
    assert [mpl.colors.to_hex(bar.get_facecolor()) for bar in bars] == [figures.PALE] + [figures.BLUE] * 8


def test_a_matrix_has_its_rows_columns_and_texts():
    values = pd.DataFrame([[0.0, 0.4], [-0.4, 0.0]], ["a", "b"], ["a", "b"])
    [axes] = figures.matrix(values, values.map("{:+.1f}".format), (-1, 1), "RdBu", "row above column").axes
    assert axes.images[0].get_array().tolist() == values.to_numpy().tolist() and axes.images[0].get_clim() == (-1, 1)
    found = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axes.texts}
    assert found[0, 1] == "+0.4" and found[1, 0] == "-0.4" and len(found) == 4
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]


def test_bubbles_stand_where_they_cost_and_are_as_large_as_they_are():
    table = pd.DataFrame(
        {"ms": [10.0, 100.0], "truth": [0.6, 0.9], "low": [0.5, 0.8], "high": [0.7, 0.95], "parameters": [1e5, 1e6]},
        index=["small", "large"],
    )
    [axes] = figures.trade_off(table, "ms", "truth").axes
    bubbles = axes.collections[-1]
    assert bubbles.get_offsets().tolist() == [[10.0, 0.6], [100.0, 0.9]] and axes.get_xscale() == "log"
    small, large = bubbles.get_sizes() - 20
    assert large == pytest.approx(10 * small) and texts(axes) == ["large", "small"]  # from the top
    ends = [sorted(segment[:, 1].tolist()) for segment in axes.collections[0].get_segments()]
    assert ends == [pytest.approx([0.5, 0.7]), pytest.approx([0.8, 0.95])]


def test_how_long_it_takes_has_an_interval_where_it_was_taken_several_times():
    once = {"ms": [10.0, 100.0], "truth": [0.6, 0.9], "low": [0.5, 0.8], "high": [0.7, 0.95], "parameters": [1e5, 1e6]}
    table = pd.DataFrame(once | {"quickest": [9.0, 80.0], "slowest": [14.0, 130.0]}, index=["small", "large"])
    [axes] = figures.trade_off(table, "ms", "truth").axes
    ends = [sorted(segment[:, 0].tolist()) for segment in axes.collections[0].get_segments()]
    assert ends == [pytest.approx([9, 14]), pytest.approx([80, 130])]


@pytest.mark.parametrize("quickest, slowest", [(7.2, 19.8), (11, 14), (3, 29), (7.3, 158), (0.4, 2)])
def test_time_has_several_ticks_however_short_it_is(quickest, slowest):
    table = {"ms": [quickest, slowest], "truth": [0.6, 0.9], "low": [0.5, 0.8], "high": [0.7, 0.95], "parameters": 1e5}
    [axes] = figures.trade_off(pd.DataFrame(table, index=["small", "large"]), "ms", "truth").axes
    axes.figure.draw_without_rendering()
    low, high = axes.get_xlim()
    shown = [label.get_text() for at, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
             if low <= at <= high]  # fmt: skip
    assert 3 <= len(shown) <= 8 and len({*shown}) == len(shown)


def test_what_is_said_stands_against_what_of_it_is_true():
    table = pd.DataFrame({"share of facts": [0.9, 0.3], "share true": [0.8, 1.0]}, index=["a", "constant"])
    [axes] = figures.said_and_true(table, ["a"]).axes
    [dots] = axes.collections
    assert dots.get_offsets().tolist() == [[0.9, 0.8], [0.3, 1.0]]
    assert dots.get_facecolors()[0].tolist() != dots.get_facecolors()[1].tolist()
    assert sorted(texts(axes)) == ["a", "constant"]


def boxes_of_names(axes):
    axes.figure.draw_without_rendering()
    return {name.get_text(): Text.get_window_extent(name) for name in axes.texts}


def test_names_of_points_do_not_overlap():
    same = {"x": [10.0] * 5, "truth": [0.6, 0.601, 0.6, 0.599, 0.9], "low": 0.5, "high": 0.95, "parameters": 1e5}
    [axes] = figures.trade_off(pd.DataFrame(same, index=[f"a model {i}" for i in range(5)]), "x", "truth").axes
    boxes = boxes_of_names(axes).values()
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_names_keep_away_from_points_and_intervals():
    """Those of seven models of chapter 10, whose intervals of speed are long."""
    speed = {
        "ms": [14.9, 17.0, 19.6, 21.8, 22.3, 16.1, 16.9],
        "quickest": [13.7, 15.9, 19.0, 17.2, 19.4, 14.6, 15.2],
        "slowest": [17.0, 18.6, 24.1, 24.0, 24.9, 20.0, 19.9],
        "truth": [0.742, 0.889, 0.912, 0.895, 0.904, 0.758, 0.696],
        "parameters": [3.8e6, 4.0e6, 4.3e6, 4.3e6, 4.3e6, 3.6e6, 3.6e6],
    }
    names = ["CNN + GRU", "attention + GRU", "transformer", "RL, CIDEr-D", "RL, and truth", "alone", "taught"]
    table = pd.DataFrame(speed, index=names).assign(low=lambda t: t["truth"] - 0.012, high=lambda t: t["truth"] + 0.012)
    [axes] = figures.trade_off(table, "ms", "truth").axes
    boxes, to_pixels = boxes_of_names(axes), axes.transData.transform
    spans = [((r["quickest"], r["truth"]), (r["slowest"], r["truth"])) for _, r in table.iterrows()]
    spans += [((r["ms"], r["low"]), (r["ms"], r["high"])) for _, r in table.iterrows()]
    for name, box in boxes.items():
        assert axes.get_window_extent().containsx(box.x0) and axes.get_window_extent().containsx(box.x1), name
        assert not any(box.overlaps(Bbox([to_pixels(start), to_pixels(end)])) for start, end in spans), name
    assert not any(one.overlaps(other) for one, other in combinations(boxes.values(), 2))


def test_a_name_stands_left_of_its_point_where_it_would_cover_another():
    table = {"x": [10.0, 13.0, 100.0], "truth": [0.9, 0.9, 0.1], "low": 0.0, "high": 1.0, "parameters": 1e5}
    [axes] = figures.trade_off(pd.DataFrame(table, index=["covering", "covered", "alone"]), "x", "truth").axes
    assert {name.get_text(): name.xyann[0] > 0 for name in axes.texts} == {
        "covering": False,
        "covered": True,
        "alone": True,
    }


def test_attributes_are_sorted_by_what_looking_gains():
    seen = {"overall": 0.8, "hat": 0.9, "belt": 0.7, "outer_fabric": 0.8}
    luck = {"overall": 0.5, "hat": 0.8, "belt": 0.6, "outer_fabric": 0.1}
    [axes] = figures.attribute_chart({"model": seen, "constant": luck}, ["model"]).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[-1] == "outer fabric" and "overall" not in labels
    dots = next(dots for dots in axes.collections if dots.get_label() == "model")
    assert dict(zip(labels, dots.get_offsets()[:, 0], strict=True)) == {"hat": 0.9, "belt": 0.7, "outer fabric": 0.8}
