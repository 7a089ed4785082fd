"""Image captioning from a CNN+GRU to vision-language models: the package under the course.

Importing `captioning` imports nothing heavy; each module is imported by its own name.
"""
