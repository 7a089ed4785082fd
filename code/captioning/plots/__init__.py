"""The figures that the package and the notebooks share."""
