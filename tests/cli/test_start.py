"""What a command may load: an answer must not wait for libraries that it does not need."""

import os
import subprocess
import sys

import numpy as np
from PIL import Image

from captioning import cli
from captioning.models.config import EncoderConfig, TransformerConfig
from captioning.models.saved import new

HEAVY = """torch torchvision timm transformers tokenizers peft accelerate datasets huggingface_hub numpy pandas scipy
sklearn matplotlib PIL pyarrow gradio onnxruntime ray rich"""
RUN = f'''
import contextlib, io, sys
import captioning.__main__
from captioning import cli
heavy = lambda: (name for name in """{HEAVY}""".split() if name in sys.modules)
print("import", *heavy())
for words in LINES:
    sys.argv = ["captioning", *words, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
        cli.main()
    assert "usage: captioning" in shown.getvalue()
    print(*words, *heavy())
'''


def test_no_help_imports_anything_heavy():
    """All in one process, so that the first line that names a library is that of the verb which loads it."""
    lines = [[], *([verb] for verb in cli.VERBS)]
    lines += [[verb, kind] for verb in cli.VERBS for kind in kinds(verb)]
    code = RUN.replace("LINES", repr(lines))
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["import", *(" ".join(words) for words in lines)]


def kinds(verb):
    found = cli.component(verb)
    return [] if callable(found) else [name for name in found if name != "_help"]


NOT_FOR_A_CAPTION = """accelerate datasets gradio huggingface_hub matplotlib nltk onnxruntime pandas peft pyarrow ray
rich scipy sklearn sympy tensorboard timm torchvision transformers torch._dynamo torch._inductor"""


def test_a_caption_imports_what_it_needs(tmp_path, tokenizer):
    decoder = TransformerConfig(width=16, heads=2, encoder_layers=1, layers=1, max_length=8)
    new(decoder, EncoderConfig("tf_efficientnet_lite0", weights=None, image_size=32), tokenizer).save_pretrained(
        tmp_path / "model"
    )
    Image.fromarray(np.zeros((32, 32, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    code = f"""import sys
from captioning import cli
sys.argv = ["captioning", "caption", "a.png", "--model", "model"]
cli.main()
print(*(name for name in {NOT_FOR_A_CAPTION!r}.split() if name in sys.modules))"""
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    caption, loaded = done.stdout.splitlines()
    assert caption.startswith("a.png\t")
    assert loaded == ""
