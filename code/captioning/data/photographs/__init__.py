"""Photographs that are free to show, with README.md's licences: what examples, figures and "in the world" stand on."""

from pathlib import Path

PHOTOGRAPHS = sorted(Path(__file__).parent.glob("*.jpg"))
