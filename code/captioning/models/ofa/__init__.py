"""OFA (Wang et al. 2022): one encoder-decoder for pictures and text; here as a captioner."""
