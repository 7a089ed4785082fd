"""The files that people have captions in: one module a format, with what reads it and what writes it side by side.

`table` lists them, `tree` is the folder that they are found in, `convert` writes one from another.
"""
