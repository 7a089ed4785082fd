"""Caption metrics without Java: the numbers of coco-caption, their intervals, and the controls to read them against."""
