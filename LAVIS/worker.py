"""LAVIS' InstructBLIP behind a pipe. Runs in an environment of its own (`bash prepare.sh lavis`) and imports nothing
of the captioning package.

    .venv/bin/python worker.py --name blip2_vicuna_instruct --type vicuna7b

One line of JSON in: {"pictures": [paths], "prompt": "...", "seed": 0, "sampling": {"samples": 1, "sample": true,
"top_p": 0.9, "temperature": 1.0, "beams": 5, "repetition_penalty": 1.5, "max_tokens": 256}}.
One line of JSON out: {"texts": [[one text a sample] a picture]} or {"error": "..."}.
"""

import argparse
import json
import os
import sys
import types


def load(name, kind):
    """A function (pictures, prompt, sampling) -> texts."""
    import torch

    sys.modules.setdefault("open3d", types.ModuleType("open3d"))  # imported by LAVIS, not used by InstructBLIP
    from lavis.models import load_model_and_preprocess
    from PIL import Image

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, processors, _ = load_model_and_preprocess(name=name, model_type=kind, is_eval=True, device=device)

    def write(pictures, prompt, seed, sampling):
        torch.manual_seed(seed)
        images = torch.stack([processors["eval"](Image.open(path).convert("RGB")) for path in pictures]).to(device)
        rounds = [
            model.generate(
                {"image": images, "prompt": prompt},
                use_nucleus_sampling=sampling["sample"],
                top_p=sampling["top_p"],
                temperature=sampling["temperature"],
                num_beams=sampling["beams"],
                repetition_penalty=sampling["repetition_penalty"],
                max_length=sampling["max_tokens"],
            )
            for _ in range(sampling["samples"])
        ]
        return [list(texts) for texts in zip(*rounds)]  # noqa: B905 (Python 3.9)

    return write


def serve(write, lines, reply):
    """Answer request after request; what goes wrong with one is its answer."""
    for line in lines:
        try:
            request = json.loads(line)
            answer = {"texts": write(request["pictures"], request["prompt"], request["seed"], request["sampling"])}
        except Exception as error:  # the other side decides what to do about it
            answer = {"error": f"{type(error).__name__}: {error}"}
        reply.write(json.dumps(answer) + "\n")
        reply.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="blip2_vicuna_instruct")
    parser.add_argument("--type", default="vicuna7b")
    options = parser.parse_args()
    reply = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print goes to stderr, so that only answers are on the pipe
    serve(load(options.name, options.type), sys.stdin, reply)
