"""What a trained captioner is worth: captions of a split, the table of results, styles, and many runs compared."""
