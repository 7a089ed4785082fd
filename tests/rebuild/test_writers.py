"""Every kind of writer on this machine, on tiny random weights and with a stand-in for LAVIS."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    OPTConfig,
    PreTrainedTokenizerFast,
    T5Config,
)

from captioning.course import mini_instructblip
from captioning.course.street_lessons import Pair
from captioning.decoding.config import Decoding
from captioning.rebuild import backends, writers
from captioning.rebuild.backends import (
    CaptionerWriter,
    LavisWriter,
    VLMWriter,
    WriterFailed,
)
from captioning.rebuild.config import WriterConfig
from captioning.rebuild.prompts import PROMPTS, Sampling, prompt

WORKER = Path(__file__).resolve().parents[2] / "LAVIS" / "worker.py"
ASKED = replace(prompt("background-v2"), sampling=Sampling(samples=2, max_tokens=5))


def test_what_is_said_of_sampling_changes_that_and_leaves_the_rest_of_the_prompts_own(monkeypatch):
    monkeypatch.setattr(writers, "writer", lambda *model: None)
    own = prompt("background-v1").sampling
    asked = writers.task(WriterConfig("chat", "background-v1", sampling={"max_tokens": 1024})).prompt
    assert own.beams == 5 and asked.sampling == replace(own, max_tokens=1024)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name, colour in (("a", "red"), ("b", "blue"), ("c", "green")):
        Image.new("RGB", (40, 30), colour).save(folder / f"{name}.png")
    return [str(path) for path in sorted(folder.iterdir())]


# ---- chat models ----------------------------------------------------------------------------------------------------

CHAT = (
    "{% for m in messages %}USER: {% for c in m['content'] %}{% if c['type'] == 'image' %}<image> {% else %}"
    "{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


@pytest.fixture(scope="module")
def saved_llava(tmp_path_factory):
    """A tiny LLaVA of random weights in the layout of the hub."""
    words = [
        "<unk>",
        "<pad>",
        "<s>",
        "</s>",
        "<image>",
        "USER:",
        "ASSISTANT:",
        "where",
        "is",
        "a",
        "red",
        "street",
        ".",
    ]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**sizes, image_size=32, patch_size=16, projection_dim=16),
        text_config=LlamaConfig(**sizes, vocab_size=len(words), pad_token_id=1, bos_token_id=2, eos_token_id=3),
        image_token_index=4,
        vision_feature_layer=-1,
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer=PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special, additional_special_tokens=["<image>"]),
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    )
    folder = tmp_path_factory.mktemp("llava")
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_a_chat_model_is_asked_in_its_own_words(saved_llava, pictures):
    writer = VLMWriter(str(saved_llava), "float32")
    question = replace(ASKED, text="where is a street", sampling=Sampling(sample=False, max_tokens=5))
    told = writer.write(pictures, question, 0)
    for picture, [text] in zip(pictures, told, strict=True):
        inputs = writer.model.processor(
            images=Image.open(picture).convert("RGB"),
            text="USER: <image> where is a street ASSISTANT:",
            return_tensors="pt",
        )
        ids = writer.model.network.generate(**inputs, do_sample=False, max_new_tokens=5)[
            0, inputs["input_ids"].shape[1] :
        ]
        assert text == writer.model.processor.decode(ids, skip_special_tokens=True).strip() != ""
    drawn = replace(question, sampling=Sampling(samples=3, max_tokens=5))
    assert [len(texts) for texts in writer.write(pictures[:2], drawn, 1)] == [3, 3]


# ---- InstructBLIP ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved_blip(tmp_path_factory):
    """A folder in the layout of Salesforce/instructblip-vicuna-7b."""
    pairs = [Pair(0, p.text, "a red car in a street .") for p in PROMPTS.values()]
    folder = tmp_path_factory.mktemp("blip")
    processor = mini_instructblip.new_processor(pairs)
    torch.manual_seed(0)
    model = InstructBlipForConditionalGeneration(mini_instructblip.new_config(processor))
    torch.nn.init.normal_(model.query_tokens, std=0.02)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_the_folder_has_the_layout_of_the_large_model(saved_blip):
    config = json.loads((saved_blip / "config.json").read_text())
    assert config["model_type"] == "instructblip" and config["text_config"]["model_type"] == "llama"
    assert (saved_blip / "model.safetensors").is_file() and (saved_blip / "tokenizer.json").is_file()
    assert (saved_blip / "qformer_tokenizer" / "tokenizer.json").is_file()


def test_instructblip_answers_as_transformers_does(saved_blip, pictures):
    """The likeliest words, against the processor and `generate` called the documented way."""
    writer = VLMWriter(str(saved_blip), "float32")
    likeliest = replace(ASKED, sampling=Sampling(sample=False, max_tokens=5))
    ours = writer.write(pictures, likeliest, seed=0)
    for picture, [text] in zip(pictures, ours, strict=True):
        inputs = writer.model.processor(images=Image.open(picture).convert("RGB"), text=ASKED.text, return_tensors="pt")
        ids = writer.model.network.generate(**inputs, do_sample=False, max_new_tokens=5)[
            0, inputs["input_ids"].shape[1] :
        ]
        assert text == writer.model.processor.tokenizer.decode(ids, skip_special_tokens=True).strip() != ""


def test_samples_depend_on_the_seed_alone(saved_blip, pictures):
    writer = VLMWriter(str(saved_blip), "float32")
    one, two, other = (writer.write(pictures, ASKED, seed) for seed in (1, 1, 2))
    assert one == two != other
    assert [len(texts) for texts in one] == [2, 2, 2] and one[0][0] != one[0][1]
    assert writer.facts()["precision"] == "float32"


# ---- whole answers --------------------------------------------------------------------------------------------------

LANGUAGE = {
    "llama": LlamaConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2),
    "opt": OPTConfig(hidden_size=16, ffn_dim=32, num_hidden_layers=1, num_attention_heads=2, word_embed_proj_dim=16),
    "t5": T5Config(d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0),
}


def saved_kin(folder, processor, kind, language):
    """A tiny random InstructBLIP or BLIP-2 over a language model, in the layout of the hub."""
    tokenizer, size = processor.tokenizer, mini_instructblip.SIZE
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    config_class, model_class = {
        "instructblip": (InstructBlipConfig, InstructBlipForConditionalGeneration),
        "blip-2": (Blip2Config, Blip2ForConditionalGeneration),
    }[kind]
    words = {"vocab_size": len(tokenizer)} | ids
    config = config_class(
        vision_config=size["vision_config"],
        qformer_config=size["qformer_config"] | words,
        text_config=LANGUAGE[language].to_dict() | words,
        num_query_tokens=size["num_query_tokens"],
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    torch.manual_seed(0)
    model_class(config).save_pretrained(folder)
    if kind == "blip-2":
        processor = Blip2Processor(processor.image_processor, tokenizer, size["num_query_tokens"])
    processor.save_pretrained(folder)


def says_words_alone(model, tokenizer):
    """No special tokens, so that an answer has as many words as it may have tokens."""
    model.generation_config.suppress_tokens = sorted({*tokenizer.all_special_ids, len(tokenizer) - 1})


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("question", ["red car", "a red car in a street . a red car in a street ."])
@pytest.mark.parametrize(
    ("kind", "language"),
    [("instructblip", "llama"), ("instructblip", "t5"), ("blip-2", "opt"), ("blip-2", "t5")],
)
def test_answers_are_whole_over_every_language_model(pictures, tmp_path, kind, language, question, samples):
    """T5 does not repeat the prompt, the others do; whatever it is, an answer has all of its twelve words."""
    processor = mini_instructblip.new_processor([Pair(0, "red car", "a red car in a street .")])
    saved_kin(tmp_path, processor, kind, language)
    writer = VLMWriter(str(tmp_path), "float32")
    assert writer.model.network.config.model_type == kind
    says_words_alone(writer.model.network.language_model, writer.model.processor.tokenizer)
    sampling = Sampling(sample=samples > 1, samples=samples, max_tokens=12)
    told = writer.write(pictures, replace(ASKED, text=question, sampling=sampling), 0)
    assert [[len(text.split()) for text in texts] for texts in told] == [[12] * samples] * len(pictures)


def test_the_answers_of_a_chat_model_are_whole(saved_llava, pictures):
    writer = VLMWriter(str(saved_llava), "float32")
    says_words_alone(writer.model.network, writer.model.processor.tokenizer)
    told = writer.write(pictures, replace(ASKED, text="where is", sampling=Sampling(sample=False, max_tokens=12)), 0)
    assert [[len(text.split()) for text in texts] for texts in told] == [[12]] * len(pictures)


def test_published_settings_reach_generate():
    settings = backends.generation(PROMPTS["background-v1"].sampling)
    assert settings["num_beams"] == 5 and settings["top_p"] == 0.9 and settings["repetition_penalty"] == 1.5


def test_half_precision(saved_blip, pictures):
    assert len(VLMWriter(str(saved_blip), "bfloat16").write(pictures[:1], ASKED, 0)[0]) == 2


# ---- our own captioner ----------------------------------------------------------------------------------------------


def test_a_captioner_of_the_course(make_model, pictures, tmp_path):
    make_model("transformer").save_pretrained(tmp_path / "run")
    writer = CaptionerWriter(str(tmp_path / "run"), Decoding(max_length=5))
    assert [len(texts) for texts in writer.write(pictures, ASKED, 0)] == [1, 1, 1]
    assert writer.facts()["decoding"]["max_length"] == 5


# ---- LAVIS ----------------------------------------------------------------------------------------------------------

STAND_IN = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("worker", sys.argv[1])
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)

def write(pictures, prompt, seed, sampling):
    if prompt == "fail":
        raise RuntimeError("out of memory")
    if prompt == "sleep":
        time.sleep(60)
    if prompt == "die":
        sys.exit(3)
    return [[f"{prompt} {seed} {i}" for i in range(sampling["samples"])] for _ in pictures]

worker.serve(write, sys.stdin, sys.stdout)
"""


@pytest.fixture
def lavis(tmp_path):
    """The worker's own loop with a stand-in for the model."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    writer = LavisWriter([sys.executable, str(tmp_path / "stand_in.py"), str(WORKER)], timeout=3)
    yield writer
    writer.close()


def asked(text):
    return replace(ASKED, text=text)


def test_lavis(lavis, pictures):
    assert lavis.write(pictures, asked("hello"), 4) == [["hello 4 0", "hello 4 1"]] * 3


@pytest.mark.parametrize(
    ("text", "found"), [("fail", "RuntimeError: out of memory"), ("sleep", "silent for 3 s"), ("die", "broke off")]
)
def test_lavis_goes_on_after_a_failure(lavis, pictures, text, found):
    with pytest.raises(WriterFailed, match=found):
        lavis.write(pictures, asked(text), 0)
    assert lavis.write(pictures[:1], asked("again"), 0) == [["again 0 0", "again 0 1"]]


def test_lavis_without_its_environment(pictures):
    with pytest.raises(WriterFailed, match="prepare.sh lavis"):
        LavisWriter(["no/such/python", "worker.py"]).write(pictures, ASKED, 0)
