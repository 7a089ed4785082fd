"""Tiny vision-language models with random weights, in folders as transformers writes the released ones: SmolVLM,
Qwen2.5-VL, LLaVA and Florence-2, with the chat templates and the special tokens that these have."""

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BartConfig,
    CLIPImageProcessor,
    CLIPVisionConfig,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

TEXTS = ["Describe the picture in one sentence.", "a red hat", "a man in a hat", "two dogs run", "Be short.", "<file>"]
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
EYES = SIZES | {"image_size": 32, "patch_size": 8}
RANDOM = {"initializer_range": 0.2}  # large, so that words differ
SMOL = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}{% if message['content'][0]['type'] == "
    "'image' %}{{':'}}{% else %}{{': '}}{% endif %}{% for line in message['content'] %}{% if line['type'] == 'text' %}"
    "{{line['text']}}{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
QWEN = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAVA = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def tokenizer_of(special: list[str], begin: str = "", end: str = "", **named: str) -> PreTrainedTokenizerFast:
    """Byte-level pieces; `begin` and `end` are put around every text, as the tokenizers of Llama and BART do."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        show_progress=False,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    if begin:
        around = [(token, tokenizer.token_to_id(token)) for token in (begin, end) if token]
        single = " ".join(filter(None, (begin, "$A", end)))
        tokenizer.post_processor = processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=False),
                processors.TemplateProcessing(single=single, special_tokens=around),
            ]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


def ids_of(tokenizer: PreTrainedTokenizerFast, *tokens: str) -> list[int]:
    return tokenizer.convert_tokens_to_ids(list(tokens))


def smolvlm() -> tuple:
    """Pictures in parts, each with its row and column, and as a whole; an end of its own after each turn."""
    parts = [f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4)]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<end_of_utterance>", "<image>"]
    special += ["<fake_token_around_image>", "<global-img>", *parts]
    names = {"bos_token": special[1], "eos_token": special[3], "pad_token": special[2], "unk_token": special[0]}
    tokenizer = tokenizer_of(special, **names)
    begin, end, pad, image = ids_of(tokenizer, "<|im_start|>", "<end_of_utterance>", "<|im_end|>", "<image>")
    text = LlamaConfig(
        **SIZES, **RANDOM, vocab_size=len(tokenizer), pad_token_id=pad, bos_token_id=begin, eos_token_id=end
    )
    config = SmolVLMConfig(
        text_config=text.to_dict(), vision_config=EYES | RANDOM, image_token_id=image, scale_factor=2, pad_token_id=pad
    )
    sizes = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    video = SmolVLMVideoProcessor(
        **sizes, video_sampling={"fps": 1, "max_frames": 2, "video_size": {"longest_edge": 32}}
    )
    processor = SmolVLMProcessor(SmolVLMImageProcessor(**sizes), tokenizer, video, image_seq_len=4, chat_template=SMOL)
    return SmolVLMForConditionalGeneration(config), processor, {"eos_token_id": end, "pad_token_id": pad}


def qwen2_5_vl() -> tuple:
    """Pictures of any size, positions in three dimensions, two ends, and sampling as its habit."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"]
    special += ["<|image_pad|>", "<|video_pad|>"]
    tokenizer = tokenizer_of(special, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    pad, _, end, start, stop, _, image, video = ids_of(tokenizer, *special)
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    config = Qwen2_5_VLConfig(
        text_config=SIZES | RANDOM | {
            "vocab_size": len(tokenizer), "num_key_value_heads": 1, "rope_parameters": rope, "bos_token_id": pad,
            "eos_token_id": end, "max_position_embeddings": 512,
        },
        vision_config=RANDOM | {
            "depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "patch_size": 4,
            "out_hidden_size": 16, "window_size": 16, "fullatt_block_indexes": [1],
        },
        image_token_id=image, video_token_id=video, vision_start_token_id=start, vision_end_token_id=stop,
    )  # fmt: skip
    sizes = {"patch_size": 4, "size": {"shortest_edge": 16 * 16, "longest_edge": 32 * 32}}
    pictures, videos = Qwen2VLImageProcessor(**sizes), Qwen2VLVideoProcessor(**sizes)
    processor = Qwen2_5_VLProcessor(pictures, tokenizer, videos, chat_template=QWEN)
    drawn = {"do_sample": True, "temperature": 0.1, "top_p": 0.001, "top_k": 1, "repetition_penalty": 1.05}
    return (
        Qwen2_5_VLForConditionalGeneration(config),
        processor,
        drawn | {"eos_token_id": [end, pad], "pad_token_id": pad},
    )


def llava() -> tuple:
    """A square of the picture, a begin token before every text, and a template that says no end."""
    special = ["<unk>", "<s>", "</s>", "<image>", "<pad>"]
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    tokenizer = tokenizer_of(special, begin="<s>", **names)
    _, begin, end, image, pad = ids_of(tokenizer, *special)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**EYES, projection_dim=16),
        text_config=LlamaConfig(
            **SIZES, **RANDOM, vocab_size=len(tokenizer), pad_token_id=pad, bos_token_id=begin, eos_token_id=end
        ),
        image_token_index=image,
        image_seq_length=16,
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA,
    )
    ends = {"bos_token_id": begin, "eos_token_id": end, "pad_token_id": pad}
    return LlavaForConditionalGeneration(config), processor, ends


def florence2() -> tuple:
    """An encoder reads picture and task, a decoder writes: BART behind a DaViT; no chat, but names of tasks."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<image>"]
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    tokenizer = tokenizer_of(special, begin="<s>", end="</s>", **names, extra_special_tokens={"image_token": "<image>"})
    begin, pad, end, _, _, image = ids_of(tokenizer, *special)
    text = BartConfig(
        d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=24, decoder_ffn_dim=24, vocab_size=len(tokenizer), max_position_embeddings=128, init_std=0.2,
        pad_token_id=pad, bos_token_id=begin, eos_token_id=end, decoder_start_token_id=end, forced_bos_token_id=begin,
    )  # fmt: skip
    eyes = {
        "depths": [1, 1, 1, 1], "embed_dim": [8, 8, 8, 8], "num_heads": [2, 2, 2, 2], "num_groups": [2, 2, 2, 2],
        "window_size": 4, "projection_dim": 16, "drop_path_rate": 0.0,
    }  # fmt: skip
    config = Florence2Config(
        text_config=text.to_dict(), vision_config=eyes, image_token_id=image, projection_dim=16,
        pad_token_id=pad, bos_token_id=begin, eos_token_id=end,
    )  # fmt: skip
    pictures = CLIPImageProcessor(size={"height": 64, "width": 64}, do_center_crop=False)
    pictures.image_seq_length = 5
    processor = Florence2Processor(pictures, tokenizer)
    habits = {"num_beams": 3, "no_repeat_ngram_size": 3, "forced_bos_token_id": begin, "decoder_start_token_id": end}
    ends = {"bos_token_id": begin, "eos_token_id": end, "pad_token_id": pad}
    return Florence2ForConditionalGeneration(config), processor, habits | ends


KINDS = {"smolvlm": smolvlm, "qwen2_5_vl": qwen2_5_vl, "llava": llava, "florence2": florence2}


def write_vlm(folder: Path, kind: str, shard: str = "50GB") -> Path:
    """A folder with a tiny model of this kind, its weights in files of at most `shard`."""
    torch.manual_seed(0)
    model, processor, habits = KINDS[kind]()
    for name, value in habits.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder, max_shard_size=shard)
    processor.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == kind
    return folder
