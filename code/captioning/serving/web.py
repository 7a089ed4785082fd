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
from torch import Tensor

from captioning.data.batches import picture_tensor
from captioning.data.pictures import problem, read_picture
from captioning.decoding.config import Decoding
from captioning.models.base import CaptionModel
from captioning.models.inference import for_inference
from captioning.serving import caption_html, feedback, uploads
from captioning.serving.inference import captioned, put
from captioning.serving.word_maps import WordMap, word_maps

UPLOAD_BYTES = "500mb"  # of one upload: an archive; single pictures may have uploads.PICTURE_BYTES
HOUR = 3600
VISITORS = 100  # of whom it is known what they look at: a picture of at most SEEN pixels a side, 3 MB
SEEN = 1024
BLOCK = 64 << 20  # bytes of a picture in one piece: of Pillow's own, of 16 MB, each thread keeps 300 MB for later
