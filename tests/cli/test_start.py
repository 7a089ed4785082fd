"""What `--help` may load: an answer must not wait for libraries that only the work itself needs."""

import subprocess
import sys

from captioning import cli

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
