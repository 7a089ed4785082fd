"""The web page in a real browser, and what it is made of without one."""

import base64
import io
import json
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.utils.rnn import pad_sequence

from captioning.cli.demo import names
from captioning.data import sources
from captioning.decoding.config import Decoding
from captioning.evaluation.comparison import Told
from captioning.learning.losses import cross_entropy
from captioning.models.ofa.captioner import OFACaptioner
from captioning.models.ofa.config import OFAConfig
from captioning.models.ofa.tokenizer import BPETokenizer
from captioning.serving import caption_html, feedback, uploads, web
from captioning.serving.word_maps import by_word, heat, word_map, word_maps
from conftest import TINY_ENCODER

BEAM = Decoding(beams=2, captions=2, max_length=8)


def picture_bytes(seed=0, size=(60, 40), kind="PNG"):
    written = io.BytesIO()
    picture(seed, size).save(written, kind)
    return written.getvalue()


def picture(seed=0, size=(60, 40)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


# --- captions word by word ---


@pytest.mark.parametrize("kind", ["gru", "attention", "transformer"])
def test_the_probabilities_of_the_words_make_the_log_probability(make_model, kind):
    model = make_model(kind)
    features = model.features(torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8))
    found, expected = word_maps(model, features, BEAM), model.generate(features, BEAM)
    assert [each.caption for each in found] == expected.texts[0]
    for each, ids, score in zip(found, expected.ids[0], expected.log_probs[0], strict=True):
        assert len(each.words) == len(each.probabilities) == len(ids)
        assert np.log(each.probabilities).sum() == pytest.approx(float(score), abs=1e-4)
        assert each.log_probability == pytest.approx(float(score))
        if kind == "gru":
            assert each.attention is None
        else:
            assert each.attention.shape == (len(ids), len(each.boxes))
            np.testing.assert_allclose(each.attention.sum(axis=1), 1, rtol=1e-4)


def test_a_style_is_asked_for_and_its_question_is_no_place_in_the_picture(styled):
    features = styled.features(torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8))
    for style, first in (("Sweet", "lovely"), ("Gloomy", "grey")):
        [found] = word_maps(styled, features, Decoding(max_length=12), style)
        expected = styled.generate(features, Decoding(max_length=12), styles=[style])
        assert found.caption == expected.best[0] and found.caption.startswith(first)
        assert np.log(found.probabilities).sum() == pytest.approx(float(expected.log_probs), abs=1e-4)
        cells, asked = features.shape[1], styled.prompts([styled.prompt(style)]).shape[1]
        assert found.attention.shape == (len(found.words), cells + asked)
        np.testing.assert_allclose(found.attention.sum(axis=1), 1, rtol=1e-4)
        assert (found.boxes[cells:] == 0).all() and (found.boxes[:cells, 2:] > found.boxes[:cells, :2]).all()
    with pytest.raises(ValueError, match="nearest: Sweet"):
        word_maps(styled, features, Decoding(max_length=12), "Sweat")


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (["The", " sun", "sets", " are", " red", "."], {"The": 1, "sunsets": 2, "are": 1, "red": 1, ".": 1}),
        ([" a", " t", "-", "shirt", ",", " a", "'s"], {"a": 1, "t-shirt": 3, ",": 1, "a's": 2}),
        (["一只", "狗", "，", "BMW", "旁。"], {"一只": 1, "狗": 1, "，": 1, "BMW": 1, "旁。": 1}),
        (["\n", "a", " sn", "ow"], {"a": 2, "snow": 2}),
    ],
)
@pytest.mark.parametrize("end", [[], [""]])
def test_the_pieces_of_a_word_are_one_word(pieces, words, end):
    said = by_word(lambda ids: "".join((pieces + end)[i] for i in ids).strip(), range(len(pieces + end)))
    assert [(text, part.stop - part.start) for text, part in said] == [*words.items(), *((text, 1) for text in end)]
    assert [i for _, part in said for i in range(len(pieces + end))[part]] == [*range(len(pieces + end))]


@torch.inference_mode()
def test_a_word_is_as_likely_as_its_pieces_together():
    torch.manual_seed(0)
    tokenizer = BPETokenizer.train(["a red sun", "sets"], size=300, codes=0)
    config = OFAConfig(32, 64, 1, 1, heads=2, positions=100, dropout=0.0)
    model = OFACaptioner(config, TINY_ENCODER, tokenizer).eval()
    features = model.features(torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8))
    ids = [*tokenizer.encode("a sunsets red"), tokenizer.eos_id]
    found = word_map(model, features, ids, "a sunsets red", 0.0)
    assert found.words == ["a", "sunsets", "red", ""] and len(ids) > 4
    logits = model(features, torch.tensor([[tokenizer.bos_id, *ids[:-1]]]))[0]
    sure = logits.log_softmax(dim=-1)[torch.arange(len(ids)), ids].sum()
    assert np.log(found.probabilities).sum() == pytest.approx(float(sure), abs=1e-4)
    maps = model.attention_maps(features, torch.tensor([[tokenizer.bos_id, *ids[:-1]]]))[0]
    np.testing.assert_allclose(found.attention[[0, -1]], maps[[0, -1]], rtol=1e-4)
    np.testing.assert_allclose(
        found.attention[1], maps[1 : 1 + len(tokenizer.encode(" sunsets"))].mean(dim=0), rtol=1e-4
    )


def test_the_map_is_bright_where_the_weight_is():
    boxes = np.array([[0, 0, 0.5, 1], [0.5, 0, 1, 1]])
    bright = heat(np.array([0.25, 0.75]), boxes, side=4)
    np.testing.assert_allclose(bright, [[1 / 3, 1 / 3, 1, 1]] * 4, rtol=1e-6)
    veil = Image.open(io.BytesIO(base64.b64decode(caption_html.veil(np.array([0, 1]), boxes).split(",")[1])))
    assert veil.getpixel((2, 16))[3] > 200 and veil.getpixel((29, 16))[3] == 0


def test_words_cannot_smuggle_html_into_the_page(make_model):
    model = make_model("transformer")
    found = word_maps(model, model.features(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)), BEAM)[0]
    evil = "<script>alert(1)</script>"
    dirty = type(found)(evil, [evil] * len(found.words), *(getattr(found, f) for f in list(found.__dict__)[2:]))
    assert "<script" not in caption_html.card(picture(), evil, [dirty], 1.0) + caption_html.message(evil)


def test_what_several_models_say_stands_in_one_table():
    said = {"a": "a <b> hat", "b": "a skirt", "c": "a <b> hat"}
    hat, denim = ("hat", "yes"), ("lower_fabric", "denim")
    told = {"a": Told({hat}, set(), {denim}), "b": Told(set(), {denim, ("belt", "yes")}, {hat})}
    html = caption_html.side_by_side(picture(), 'a "hat"', said, told)
    assert html.count("<tr>") == html.count("</tr>") == 2 and 'rowspan="2"' in html
    assert ">a</b><br>" in html and ">c</b></td>" in html and "a &lt;b&gt; hat" in html
    assert 'alt="a &quot;hat&quot;"' in html and ">1 true<" in html and ">0 true<" in html
    assert "unsaid: lower fabric denim<" in html and "invented: belt, lower fabric denim<" in html
    assert html.count("invented") == 1 and html.count("unsaid") == 2
    assert html.count("min-width:16em") == 2, "of the cells with captions, or a narrow page has a word a line"


# --- feedback ---


def test_votes_become_a_data_set_that_can_be_trained_on(tmp_path):
    for seed in range(40):
        feedback.save(tmp_path, picture(seed), feedback.Vote("gru", f"caption {seed}", good=seed % 2 == 0))
    feedback.save(tmp_path, picture(1), feedback.Vote("gru", "caption 1", good=False, correction="a  better\none"))
    feedback.save(tmp_path, picture(0), feedback.Vote("gru", "caption 0", good=True))
    feedback.save(tmp_path, picture(0), feedback.Vote("attention", "another", good=True))
    data = sources.load("folder", tmp_path)
    assert set(data) == {"train", "val"}
    captions = sorted(tuple(row) for split in data.values() for row in split["captions"])
    assert captions == sorted(
        [("caption 0", "another"), ("a better one",), *((f"caption {i}",) for i in range(2, 40, 2))]
    )
    assert len(feedback.read_votes(tmp_path)) == 43 and len(list((tmp_path / "images").iterdir())) == 40
    assert not len(sources.check(data, workers=0))


def test_votes_at_the_same_time_are_all_kept(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        said = [
            pool.submit(feedback.save, tmp_path, picture(i % 3), feedback.Vote("gru", f"{i}", True)) for i in range(24)
        ]
        paths = {vote.result() for vote in said}
    assert len(paths) == 3 and sorted(int(vote["caption"]) for vote in feedback.read_votes(tmp_path)) == list(range(24))
    assert not list(tmp_path.rglob("*.partial"))


def test_votes_of_two_styles_on_one_picture_are_both_kept(tmp_path):
    styles = ("Sweet", "Gloomy", "very sweet", "very-sweet", "and/or")  # letters that a file name has not, told apart
    for style in styles:
        feedback.save(tmp_path, picture(), feedback.Vote("ofa", f"{style} words", good=True, style=style))
    data = sources.load("folder", tmp_path)
    [rows] = data.values()
    assert len(set(rows["image_id"])) == len(styles)
    assert dict(zip(rows["style"], rows["captions"], strict=True)) == {style: [f"{style} words"] for style in styles}


def test_the_camera_s_notes_are_not_kept(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "at home"
    written = io.BytesIO()
    picture().save(written, "JPEG", exif=exif)
    kept = feedback.save(tmp_path, Image.open(written).convert("RGB"), feedback.Vote("gru", "a", True))
    assert not Image.open(kept).getexif()


def test_a_caption_without_end_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has 1001 letters, expected at most 1000"):
        feedback.save(tmp_path, picture(), feedback.Vote("gru", "a", False, "x" * 1001))


# --- uploads ---


def archive(path, entries):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name, content in entries.items():
                packed.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz") as packed:
            for name, content in entries.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                packed.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["a.zip", "a.tgz"])
def test_archives_give_their_pictures_and_write_nowhere_else(tmp_path, name):
    (tmp_path / "in").mkdir()
    entries = {"deep/a.png": b"1", "../../../evil.jpg": b"2", "readme.txt": b"3", "__MACOSX/._a.png": b"4"}
    sent = [archive(tmp_path / name, entries), tmp_path / "single.PNG"]
    found = uploads.pictures(sent, tmp_path / "in")
    assert list(found.values()) == ["deep/a.png", "../../../evil.jpg", "single.PNG"]
    assert [Path(file).read_bytes() for file in list(found)[:2]] == [b"1", b"2"]
    assert {path.name for path in (tmp_path / "in").iterdir()} == {"00000.png", "00001.jpg"}
    assert {path.name for path in tmp_path.iterdir()} == {"in", name}


def test_of_what_is_sent_every_kind_of_picture_is_taken_and_no_hidden_file(tmp_path):
    entries = dict.fromkeys(("a.avif", "b.HEIC", "c.jfif", "._c.jfif", ".cache/d.jpg", "e.h5"), b"1")
    found = uploads.pictures([archive(tmp_path / "a.zip", entries), tmp_path / "f.heic"], tmp_path)
    assert list(found.values()) == ["a.avif", "b.HEIC", "c.jfif", "f.heic"]  # HEIC is named when it is read


def test_archives_that_are_too_large_or_none_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "PICTURES", 2)
    monkeypatch.setattr(uploads, "PICTURE_BYTES", 1000)
    for entries in ({f"{i}.png": b"1" for i in range(3)}, {"a.png": b"0" * 1001}):
        with pytest.raises(uploads.Refused, match=r"a\.zip: .* expected at most 2 pictures of 0 MB"):
            uploads.pictures([archive(tmp_path / "a.zip", entries)], tmp_path)
    (tmp_path / "b.tar").write_bytes(b"no archive")
    with pytest.raises(uploads.Refused, match=r"b\.tar: cannot be unpacked"):
        uploads.pictures([tmp_path / "b.tar"], tmp_path)
    with pytest.raises(uploads.Refused, match="no picture there"):
        uploads.pictures([archive(tmp_path / "c.zip", {"a.txt": b""})], tmp_path)


def test_an_emptied_field_of_the_page_is_one_sentence():
    assert web.decoding("beam search", 3, 1, 0.7, 0.9, 0, 0, 20) == Decoding(beams=3, max_length=20)
    with pytest.raises(ValueError, match="Beams, Seed: the field is empty; give a number"):
        web.decoding("beam search", None, 1, 0.7, 0.9, 0, None, 20)


# --- the command ---


def test_runs_are_called_by_their_folders(tmp_path):
    for name in ("old", "mini/new"):
        (tmp_path / name).mkdir(parents=True)
    runs = [str(tmp_path / "old"), str(tmp_path / "mini" / "new"), "me/model"]
    assert names(runs) == {"old": runs[0], "new": runs[1], "me/model": runs[2]}


# --- in a browser ---


@pytest.fixture(scope="module")
def styled():
    """A tiny OFA that has learned what to say in which style, and to look at nothing."""
    said = {"Sweet": "lovely noise in all colours", "Gloomy": "grey noise and nothing else"}
    torch.manual_seed(0)
    config = OFAConfig(32, 64, 1, 1, heads=2, positions=100, dropout=0.0, styles=tuple(said))
    model = OFACaptioner(config, TINY_ENCODER, BPETokenizer.train(said.values(), size=400, codes=0)).eval()
    features = model.features(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    features = model.asked(features, model.prompts([model.prompt(style) for style in said]))
    tokens = [[model.tokenizer.bos_id, *model.tokenizer.encode(text), model.tokenizer.eos_id] for text in said.values()]
    tokens = pad_sequence([torch.tensor(row) for row in tokens], True, model.tokenizer.pad_id)
    optimizer = torch.optim.Adam(model.ofa.parameters(), lr=0.02)
    for _ in range(50):
        loss = cross_entropy(model.decode(features, tokens[:, :-1]), tokens[:, 1:], model.tokenizer.pad_id)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@pytest.fixture
def site(make_model, styled, tmp_path):
    """(address, folder of votes, models) of a page with two models, one of them with styles."""
    pytest.importorskip("gradio", reason="needs Gradio: pip install 'captioning[web]'")
    from captioning.serving import web

    models = {"plain": make_model("attention")}
    models["styled"] = styled
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "example.png").write_bytes(picture_bytes(7))
    with web.serving(models, tmp_path / "feedback", [str(tmp_path / "examples" / "example.png")]) as address:
        yield address, tmp_path / "feedback", models


def upload(page, name, content):
    page.locator("#picture input[type=file]").set_input_files(
        {"name": name, "mimeType": "image/png", "buffer": content}
    )


def test_the_page_in_a_browser(browser, site, tmp_path):
    address, votes, _ = site
    page, other = browser.new_page(), browser.new_page()
    foreign = []
    page.on("request", lambda request: foreign.append(request.url) if request.url.startswith("http") else None)
    for each in (page, other):
        each.set_default_timeout(15_000)
        each.goto(address)
    # Two visitors at once: each sees his own picture.
    upload(page, "wide.png", picture_bytes(1, (90, 30)))
    upload(other, "tall.png", picture_bytes(2, (30, 90)))
    for each, shape in ((page, "90/30"), (other, "30/90")):
        each.locator(".card").nth(1).wait_for()
        assert each.locator(".card h3").all_inner_texts()[1].startswith("styled")
        assert f"--shape:{shape}" in each.locator(".caption").first.get_attribute("style").replace(" ", "")
    # A style.
    assert page.locator(".card").nth(1).locator(".word span").first.inner_text() == "grey"  # Gloomy, the first
    page.locator("#style input").click()
    page.get_by_role("option", name="Sweet").click()
    page.locator("#caption").click()
    page.locator(".card").nth(1).locator(".word span", has_text="lovely").first.wait_for()
    # Where a word looked: its veil lies over the picture, and only its.
    word = page.locator(".card").nth(1).locator(".word").nth(2)
    assert word.locator(".veil").evaluate("veil => getComputedStyle(veil).opacity") == "0"
    word.hover()
    page.wait_for_function("document.querySelectorAll('.word:hover .veil')[0].computedStyleMap().get('opacity') == 1")
    photo, veil = (page.locator(".card").nth(1).locator(".photo").bounding_box(), word.locator(".veil").bounding_box())
    assert photo == pytest.approx(veil, abs=1)
    # A vote with a correction.
    assert not votes.exists()
    page.locator("#votes textarea").fill("noise , nothing but noise")
    page.locator("#bad").click()
    page.locator("#thanks", has_text="votes so far: 1").wait_for()
    [row] = [json.loads(line) for line in (votes / "metadata.jsonl").read_text().splitlines()]
    assert row["captions"] == ["noise , nothing but noise"] and row["provenance"] == "human feedback"
    assert Image.open(votes / row["file_name"]).size == (90, 30)
    # A file that is no picture.
    upload(other, "broken.png", picture_bytes(2)[:300])
    other.locator("#captions .message", has_text="cannot be read as a picture").wait_for()
    assert not other.locator("#votes").is_visible()
    assert all(url.startswith(address.rstrip("/")) for url in foreign), "the page asks for something from elsewhere"


PALE = """() => {  // what is written with less contrast than 4.5, as WCAG counts it
    const ink = document.createElement('canvas').getContext('2d', {willReadFrequently: true}), found = [];
    const rgba = colour => {
        ink.clearRect(0, 0, 1, 1); ink.fillStyle = colour; ink.fillRect(0, 0, 1, 1);
        return [...ink.getImageData(0, 0, 1, 1).data];
    };
    const light = colour => colour.slice(0, 3).map(x => x / 255)
        .map(x => x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4)
        .reduce((sum, x, i) => sum + x * [.2126, .7152, .0722][i], 0);
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const text = texts.currentNode.textContent.trim(), element = texts.currentNode.parentElement;
        if (!text || !element.getClientRects().length || element.closest('style, script')) continue;
        let behind = element;
        while (behind && rgba(getComputedStyle(behind).backgroundColor)[3] < 200) behind = behind.parentElement;
        const paper = light(behind ? rgba(getComputedStyle(behind).backgroundColor) : [255, 255, 255]);
        const letters = light(rgba(getComputedStyle(element).color));
        const contrast = (Math.max(paper, letters) + .05) / (Math.min(paper, letters) + .05);
        if (contrast < 4.5) found.push(`${contrast.toFixed(1)} ${text}`);
    }
    return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_written_on_the_page_can_be_read(browser, site, scheme):
    address, _, _ = site
    page = browser.new_page(color_scheme=scheme)
    page.set_default_timeout(15_000)
    page.goto(address)
    page.get_by_text("How words are chosen").click()
    upload(page, "a.png", picture_bytes(1))
    page.locator(".card").nth(1).wait_for()
    page.locator("#thanks").wait_for()
    assert page.evaluate(PALE) == []
    page.get_by_role("tab", name="A folder").click()
    page.locator("#files").wait_for()
    assert page.evaluate(PALE) == []


def test_a_folder_in_a_browser(browser, site, tmp_path):
    address, votes, models = site
    page = browser.new_page()
    page.set_default_timeout(15_000)
    page.goto(address)
    page.get_by_role("tab", name="A folder").click()
    packed = archive(tmp_path / "holiday.zip", {"a.png": picture_bytes(1), "deep/b.jpg": b"broken"})
    page.locator("#files input[type=file]").set_input_files(packed)
    page.locator("#files", has_text="holiday").wait_for()
    page.locator("#all").click()
    page.locator("#report", has_text="1 picture captioned").wait_for()
    assert "deep/b.jpg" in page.locator("#report").inner_text()
    with page.expect_download() as download:
        page.locator("#result a[download]").first.click()
    [row] = [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]
    assert row["image"] == "a.png" and row["caption"] and row["log_probability"] < 0
    assert str(round(row["log_probability"], 2)) in page.locator("#table").inner_text().split()
    assert not votes.exists()


def test_captions_are_reviewed_on_a_tab_in_a_browser(browser, make_model, tmp_path):
    pytest.importorskip("gradio", reason="needs Gradio: pip install 'captioning[web]'")
    from captioning.cli.demo import reviewing
    from captioning.serving import web
    from captioning.serving.review import Review

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.png").write_bytes(picture_bytes(1))
    with (
        reviewing(Review(tmp_path / "mine")) as review,
        web.serving({"plain": make_model("gru")}, tmp_path / "votes", [], review=review) as address,
    ):
        page = browser.new_page()
        page.set_default_timeout(15_000)
        page.goto(address)
        page.get_by_role("tab", name="Review").click()
        frame = page.frame_locator("iframe.review")
        frame.get_by_label("Caption of a.png").fill("noise, nothing but noise")
        frame.locator("#save", has_text="Save 1 caption").click()
        frame.locator("#status", has_text="Saved: 1").wait_for()
    assert (tmp_path / "mine" / "a.txt").read_text() == "noise, nothing but noise\n"


def test_captions_are_not_reviewed_where_others_reach_the_page(tmp_path):
    from captioning.cli.demo import demo

    with pytest.raises(
        ValueError, match=r"--review .*mine with --host 0\.0\.0\.0: whoever reaches the page could change"
    ):
        demo([], review=tmp_path / "mine", host="0.0.0.0")


def test_the_folder_to_be_reviewed_is_read_before_models_are_loaded(tmp_path):
    pytest.importorskip("gradio", reason="needs Gradio: pip install 'captioning[web]'")
    from captioning.cli.demo import demo

    with pytest.raises(NotADirectoryError, match="mine: no such folder"):
        demo([str(tmp_path / "no model")], review=tmp_path / "mine", feedback=tmp_path / "votes")
    assert not (tmp_path / "votes").exists()


def test_what_is_not_saved_is_told_when_the_page_ends(make_model, tmp_path, monkeypatch, capsys):
    pytest.importorskip("gradio", reason="needs Gradio: pip install 'captioning[web]'")
    from captioning.cli import demo
    from captioning.serving import review, web

    (tmp_path / "a.png").write_bytes(picture_bytes(1))
    opened = review.Review(tmp_path)

    def edited_and_left():
        opened.edit({0: "noise"})
        raise KeyboardInterrupt

    monkeypatch.setattr(review, "Review", lambda folder: opened)
    monkeypatch.setattr(demo, "load_speaker", lambda *asked: make_model("gru"))
    monkeypatch.setattr(web, "serving", lambda *shown: nullcontext("http://here"))
    monkeypatch.setattr(demo, "until_stopped", edited_and_left)
    for folder, more in ((tmp_path, "; captions that were changed and not saved: 1"), (None, "")):
        demo.demo([], review=folder, feedback=tmp_path / "votes")
        assert capsys.readouterr().out.endswith(f"stopped; uploads are deleted{more}\n")
