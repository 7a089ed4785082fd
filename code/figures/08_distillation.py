"""Draws 08_distillation.png: one step of distillation with the shape of what flows along each arrow."""

from sheet import Sheet

from captioning.plots import figures
from captioning.plots.figures import BLUE, GREEN, GREY, INK, ORANGE


def main():
    sheet = Sheet(9.6, 3.9)
    sheet.box(1.0, 2.9, "features of\na picture", 1.3, 0.65, GREY)
    sheet.box(1.0, 1.3, "a caption,\nword by word", 1.3, 0.65, GREY)
    sheet.box(4.0, 2.9, "teacher\n(frozen)", 1.7, 0.8, GREY)
    sheet.box(4.0, 1.3, "student", 1.7, 0.8, GREEN)
    sheet.arrow([(1.65, 2.9), (3.15, 2.9)])
    sheet.shape(2.4, 3.05, "(B,N,C)")
    sheet.arrow([(1.65, 1.3), (3.15, 1.3)])
    sheet.shape(2.4, 1.15, "(B,T)")
    sheet.arrow([(2.0, 2.9), (2.75, 1.65), (3.15, 1.5)])
    sheet.arrow([(2.0, 1.3), (2.75, 2.55), (3.15, 2.7)])
    sheet.box(7.25, 2.1, "KL divergence\nat temperature T", 1.7, 0.75, BLUE)
    sheet.arrow([(4.85, 2.9), (7.25, 2.9), (7.25, 2.48)])
    sheet.shape(6.75, 3.05, "logits (B,T,V)")
    sheet.arrow([(4.85, 1.3), (7.25, 1.3), (7.25, 1.72)])
    sheet.shape(6.75, 1.15, "logits (B,T,V)")
    sheet.box(5.2, 2.1, "squared\ndistance", 1.05, 0.62, ORANGE)
    sheet.arrow([(4.4, 2.5), (4.4, 2.3), (4.67, 2.2)], ORANGE)
    sheet.arrow([(4.4, 1.7), (4.4, 1.9), (4.67, 2.0)], ORANGE)
    sheet.shape(3.35, 2.1, "maps (B,T,N)")
    sheet.arrow([(5.73, 2.1), (6.05, 2.1), (6.05, 0.62), (8.6, 0.62)], ORANGE)
    sheet.arrow([(8.1, 2.1), (8.85, 2.1), (8.85, 0.8)], BLUE)
    sheet.note(9.0, 0.62, "loss", INK)
    sheet.arrow([(1.0, 0.97), (1.0, 0.45), (8.6, 0.45)], GREY, "--")
    sheet.note(3.9, 0.3, "cross-entropy with the caption itself, if one likes")
    sheet.note(4.8, 3.65, "B pictures   N cells   C channels   T words   V vocabulary")
    sheet.save("08_distillation")


figures.style()
main()
