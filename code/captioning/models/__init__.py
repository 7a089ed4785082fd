"""The captioning models, one file each, all behind the interface of `base.py`."""
