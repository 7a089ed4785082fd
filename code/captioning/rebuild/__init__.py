"""A data set written anew by captioners and vision-language models: asked, cleaned, checked, joined, reported."""
