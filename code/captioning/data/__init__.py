"""Data sets of any format, read to one schema (see `captioning.data.sources`)."""
