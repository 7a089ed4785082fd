"""The page of `captioning demo`: a picture or a folder, one model or several side by side, what each word rests on.

Nothing that a visitor sends is kept, but for pictures with a vote: uploads lie in a folder that is deleted with the
server, and after an hour. The files in that folder are all that can be had by an address, and examples are copied
there. Models are loaded once, before the server starts.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

import gradio as gr
from PIL import Image

from captioning.data.batches import picture_tensor
from captioning.data.pictures import problem, read_picture
from captioning.decoding.config import Decoding
from captioning.models.base import CaptionModel
from captioning.models.inference import for_inference
from captioning.models.vlm import VisionLanguageModel
from captioning.serving import asking, caption_html, feedback, uploads
from captioning.serving.inference import captioned, put
from captioning.serving.word_maps import WordMap, word_maps

UPLOAD_BYTES = "500mb"  # of one upload: an archive; single pictures may have uploads.PICTURE_BYTES
HOUR = 3600
VISITORS = 100  # of whom it is known what they look at: a picture of at most SEEN pixels a side, 3 MB
SEEN = 1024
BLOCK = 64 << 20  # bytes of a picture in one piece: of Pillow's own, of 16 MB, each thread keeps 300 MB for later
TABLE = 200  # rows of a folder's captions that are shown; the file has them all
GREEDY, BEAM, SAMPLE = "likeliest word", "beam search", "sampling"
Model = CaptionModel | VisionLanguageModel
WAITING = "Upload a picture, paste one, take one, or pick an example."


@dataclass(frozen=True)
class Seen:
    """What one visitor looks at: kept in memory until he looks at something else, or leaves."""

    picture: Image.Image  # reduced
    style: str
    captions: list[tuple[str, str]]  # model, caption


class Speaker:
    """A captioner, and its encoder as it is quickest."""

    captioned = staticmethod(captioned)

    def __init__(self, model: CaptionModel):
        self.model, self.encode = model, for_inference(model)

    def word_maps(self, content: bytes, decoding: Decoding, style: str) -> list[WordMap]:
        """The captions of one picture; `style` is for the models that have it."""
        images = picture_tensor(content, self.model.encoder.config.image_size)[None]
        return word_maps(self.model, self.encode(images), decoding, style if style in self.model.styles else None)


class Asked(Speaker):
    """A vision-language model."""

    captioned = staticmethod(asking.captioned)

    def __init__(self, model: VisionLanguageModel):
        self.model = model

    def word_maps(self, content: bytes, decoding: Decoding, style: str) -> list[WordMap]:
        return asking.word_maps(self.model, content, decoding)


def speaker(model: Model) -> Speaker:
    return Asked(model) if isinstance(model, VisionLanguageModel) else Speaker(model)


def build(models: dict[str, Model], votes: Path, examples: list[str], place: Path, review: str = "") -> gr.Blocks:
    """The page. `votes` is the folder of the data set that people's votes become; `examples` are picture files;
    `place` is a folder that is deleted with the server; `review` is the address of a page of `review_page`."""
    speakers = {name: speaker(model) for name, model in models.items()}
    with gr.Blocks(title="captioning", analytics_enabled=False, delete_cache=(HOUR, HOUR)) as page:
        gr.HTML('<header class="lead"><h1>What is in the picture?</h1><p>Captions by models of this course: '
                "each word with its probability, and with where the model looked for it.</p></header>")  # fmt: skip
        with gr.Tab("One picture"):
            one_picture(speakers, votes, examples)
        with gr.Tab("A folder"):
            folder(speakers, place)
        if review:
            with gr.Tab("Review"):
                gr.HTML(f'<iframe class="review" src="{review}" title="Captions of a folder, to be mended"></iframe>')

        def forget(request: gr.Request) -> None:
            page.state_holder.delete_state(request.session_hash)  # Gradio itself would keep it for an hour

        page.unload(forget)
    return page


def one_picture(speakers: dict[str, Speaker], votes: Path, examples: list[str]) -> None:
    seen = gr.State(None, time_to_live=HOUR)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            picture = gr.Image(
                label="Picture", sources=["upload", "webcam", "clipboard"], height=300, elem_id="picture"
            )
            # The file as it was sent, to be decoded by `read_picture` and nothing else. (A subclass of a component
            # would do, but Gradio writes a file beside the source for each. It lasts while only the value is updated.)
            picture.preprocess = lambda payload: payload and payload.path
            if examples:
                shown = gr.Dataset(components=[picture], samples=[[each] for each in examples], label="Examples")
                shown.click(lambda sample: sample[0], shown, picture, show_progress="hidden")
            chosen = gr.CheckboxGroup(
                list(speakers), value=list(speakers)[:3], label="Models", visible=len(speakers) > 1, elem_id="models"
            )
            style = style_choice(speakers)
            settings = decoding_settings()
            again = gr.Button("Caption", variant="primary", elem_id="caption")
        with gr.Column(scale=3, min_width=300):
            cards = gr.HTML(caption_html.message(WAITING), elem_id="captions")
            with gr.Group(visible=False, elem_id="votes") as voting:
                which = gr.Radio([], label="Which caption?", elem_id="which")
                correction = gr.Textbox(label="A better caption (optional)", max_length=feedback.LONGEST, lines=2)
                with gr.Row():
                    good = gr.Button("✓ Right", elem_id="good")
                    bad = gr.Button("✗ Wrong", elem_id="bad")
                thanks = gr.HTML(f'<p class="said">A vote keeps the picture, in {votes.name}/.</p>', elem_id="thanks")
    gr.on(
        [picture.change, again.click],
        partial(caption, speakers),
        [picture, chosen, style, *settings],
        [cards, seen, voting, which, correction],
        show_progress_on=cards,
        concurrency_limit=1,
        trigger_mode="always_last",
    )
    for button, right in ((good, True), (bad, False)):
        button.click(partial(vote, votes, right), [seen, which, correction], thanks)


def style_choice(speakers: dict[str, Speaker]) -> gr.Dropdown:
    styles = sorted({style for speaker in speakers.values() for style in speaker.model.styles})
    return gr.Dropdown(
        styles, value=styles[0] if styles else None, label="Style", visible=bool(styles), elem_id="style"
    )


def decoding_settings() -> list[gr.components.Component]:
    """The inputs of `decoding`, in its order."""
    with gr.Accordion("How words are chosen", open=False):
        strategy = gr.Radio([GREEDY, BEAM, SAMPLE], value=BEAM, label="Search")
        beams = gr.Slider(2, 10, 3, step=1, label="Beams", info="hypotheses that beam search keeps")
        captions = gr.Slider(1, 5, 1, step=1, label="Captions", info="of beam search and of sampling")
        temperature = gr.Slider(0.1, 2, 0.7, step=0.1, label="Temperature", info="sampling: lower is surer")
        top_p = gr.Slider(0.1, 1, 0.9, step=0.05, label="Nucleus", info="sampling: share of the probability")
        ngram = gr.Slider(0, 5, 0, step=1, label="No repeated n-gram", info="of this size; 0: free")
        seed = gr.Number(0, precision=0, label="Seed", info="sampling")
    return [strategy, beams, captions, temperature, top_p, ngram, seed]


def decoding(
    strategy: str, beams: int, captions: int, temperature: float, top_p: float, ngram: int, seed: int, longest: int
) -> Decoding:
    """The settings of the page; raises ValueError for those that exclude each other, and for a field that is empty."""
    fields = {"Beams": beams, "Captions": captions, "Temperature": temperature, "Nucleus": top_p}
    fields |= {"No repeated n-gram": ngram, "Seed": seed}
    if empty := [name for name, value in fields.items() if value is None]:
        raise ValueError(f"{', '.join(empty)}: the field is empty; give a number")
    common = {"no_repeat_ngram": ngram, "max_length": longest}
    if strategy == GREEDY:
        return Decoding(**common)
    if strategy == BEAM:
        return Decoding(beams=beams, captions=captions, **common)
    return Decoding(sample=True, captions=captions, temperature=temperature, top_p=top_p, seed=seed, **common)


def caption(speakers: dict[str, Speaker], file: str | None, chosen: list[str], style: str | None, *settings) -> tuple:
    """A card a model, what was seen, and what may be voted on."""
    nothing = (None, gr.Group(visible=False), gr.Radio([]), "")
    if file is None:
        return caption_html.message(WAITING), *nothing
    try:
        content = opened(file)
        picture, cards, captions = read_picture(content), [], []
        picture.thumbnail((SEEN, SEEN))
        for name in chosen or list(speakers)[:1]:
            maps, seconds = spoken(speakers[name], content, style or "", settings)
            cards.append(caption_html.card(picture, name, maps, seconds))
            captions += [(name, each.caption) for each in maps]
    except ValueError as error:
        return caption_html.message(str(error)), *nothing
    shown = [(f"{name}: {text}" if len(speakers) > 1 else text, i) for i, (name, text) in enumerate(captions)]
    voting = gr.Group(visible=bool(captions)), gr.Radio(shown, value=0 if captions else None), ""
    return f'<div class="cards">{"".join(cards)}</div>', Seen(picture, style or "", captions), *voting


def opened(file: str) -> bytes:
    """An upload that is a picture. Raises ValueError in words for the one who sent it."""
    size = Path(file).stat().st_size
    if size > uploads.PICTURE_BYTES:
        raise ValueError(f"This picture has {size / 1e6:.0f} MB, more than {uploads.PICTURE_BYTES / 1e6:.0f} MB.")
    content = Path(file).read_bytes()
    if found := problem(content):
        why = found.partition(": ")[2].rpartition(";")[0]  # without our name for it, and what the owner of a set may do
        raise ValueError(f"This file cannot be read as a picture: {why}.")
    return content


def spoken(speaker: Speaker, content: bytes, style: str, settings: tuple) -> tuple[list[WordMap], float]:
    start = time.perf_counter()
    maps = speaker.word_maps(content, decoding(*settings, longest=speaker.model.usual.max_length), style)
    return maps, time.perf_counter() - start


def vote(votes: Path, good: bool, seen: Seen | None, which: int | None, correction: str) -> str:
    if seen is None or which is None:
        return caption_html.message("There is no caption to vote on.")
    model, text = seen.captions[which]
    feedback.save(votes, seen.picture, feedback.Vote(model, text, good, correction.strip(), seen.style))
    return caption_html.message(f"Thank you: kept in {votes.name}/, votes so far: {len(feedback.read_votes(votes))}.")


def folder(speakers: dict[str, Speaker], place: Path) -> None:
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            sent = gr.File(label="Pictures, or a .zip or .tar of them", file_count="multiple", elem_id="files")
            whole = gr.UploadButton("Choose a whole folder", file_count="directory", elem_id="folder")
            model = gr.Dropdown(list(speakers), value=next(iter(speakers)), label="Model", visible=len(speakers) > 1)
            start = gr.Button("Caption all", variant="primary", elem_id="all")
        with gr.Column(scale=3, min_width=300):
            report = gr.HTML(caption_html.message("Nothing to caption yet."), elem_id="report")
            result = gr.File(label="captions.jsonl", visible=False, elem_id="result")
            table = gr.Dataframe(headers=["picture", "caption", "log-probability"], wrap=True, interactive=False,
                                 column_widths=["24%", "44%", "32%"], visible=False, elem_id="table")  # fmt: skip
    whole.upload(lambda files: files, whole, sent)
    start.click(
        partial(caption_all, speakers, place),
        [sent, model],
        [report, result, table],
        concurrency_limit=1,
        show_progress="hidden",
    )


def caption_all(speakers: dict[str, Speaker], place: Path, sent: list[str] | None, name: str) -> Iterator[tuple]:
    """Captions of all pictures: after each batch how far it is, and at the end the table and the file."""
    if not sent:
        yield caption_html.message("Nothing to caption yet."), gr.skip(), gr.skip()
        return
    with tempfile.TemporaryDirectory(dir=place) as unpacked:
        try:
            names = uploads.pictures(map(Path, sent), Path(unpacked))
        except uploads.Refused as error:
            yield caption_html.message(str(error)), gr.skip(), gr.skip()
            return
        out = Path(tempfile.mkdtemp(dir=place)) / "captions.jsonl"
        speaker, rows, broken = speakers[name], [], []
        for said, faults in speaker.captioned(speaker.model, list(names), speaker.model.usual, batch_size=8, workers=0):
            said = [row | {"image": names[row["image"]]} for row in said]
            put(said, out)
            rows, broken = rows + said, broken + [named(fault, names) for fault in faults]
            yield progress(len(rows) + len(broken), len(names)), gr.skip(), gr.skip()
    shown = [[row["image"], row["caption"], round(row["log_probability"], 2)] for row in rows[:TABLE]]
    yield (
        summary(rows, broken),
        gr.File(str(out) if rows else None, visible=bool(rows)),
        gr.Dataframe(shown, visible=bool(rows)),
    )


def named(fault: str, names: dict[str, str]) -> str:
    """What is wrong with a picture, under the name that its sender knows."""
    file = next((file for file in names if fault.startswith(file)), "")
    return names.get(file, "") + fault.removeprefix(file).rpartition(";")[0]


def progress(done: int, total: int) -> str:
    bar = f'<progress value="{done}" max="{total}"></progress>'
    return f'<p class="message" role="status">{done} of {total} pictures {bar}</p>'


def summary(rows: list[dict], broken: list[str]) -> str:
    said = (
        f"{len(rows)} picture{'s' * (len(rows) != 1)} captioned"
        + (f", the first {TABLE} are shown" if len(rows) > TABLE else "")
        + "."
    )
    return caption_html.message(said) + "".join(map(caption_html.message, broken))


@contextmanager
def serving(
    models: dict[str, Model],
    votes: Path,
    examples: list[str],
    host: str = "127.0.0.1",
    port: int | None = None,
    login: tuple[str, str] | None = None,
    review: str = "",
) -> Iterator[str]:
    """The server, for as long as the context lasts; gives its address. `login` is a name and a password that visitors
    need; `review` as in `build`. Raises OSError when the port is taken."""
    Image.core.set_block_size(BLOCK)
    with tempfile.TemporaryDirectory(prefix="captioning-") as place:
        os.environ["GRADIO_TEMP_DIR"] = place  # where Gradio puts uploads, and what it hands out
        page = build(models, votes, copies(examples, Path(place) / "examples"), Path(place), review)
        try:
            _, address, _ = page.launch(
                server_name=host,
                server_port=port,
                prevent_thread_lock=True,
                quiet=True,
                share=False,
                ssr_mode=False,
                run_history=False,  # else Gradio keeps what visitors do in their browsers
                footer_links=[],
                max_file_size=UPLOAD_BYTES,
                auth=login,
                state_session_capacity=VISITORS,
                css=files("captioning.serving").joinpath("web.css").read_text(),
                theme=gr.themes.Soft(primary_hue="teal", neutral_hue="slate", font="system-ui", font_mono="system-ui"),
            )
            yield address
        finally:
            page.close(verbose=False)


def copies(pictures: list[str], folder: Path) -> list[str]:
    """The pictures in a folder of their own, where nothing else is."""
    folder.mkdir()
    numbered = enumerate(map(Path, pictures))
    return [str(shutil.copyfile(path, folder / f"{number}{path.suffix}")) for number, path in numbered]
