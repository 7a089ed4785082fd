"""Draws 09_seeing.png: how a language model reads a picture, with the shape of what flows along each arrow."""

from sheet import Sheet

from captioning.plots import figures
from captioning.plots.figures import BLUE, GREEN, GREY, ORANGE


def main():
    sheet = Sheet(9.6, 3.7)
    sheet.box(0.85, 2.6, "eyes\n(frozen)", 1.1, 0.7, GREY)
    sheet.arrow([(1.4, 2.6), (2.3, 2.6)])
    sheet.shape(1.85, 2.8, "(B,N,C)")
    sheet.box(2.95, 2.6, "m x m cells\nside by side", 1.3, 0.7, GREY)
    sheet.arrow([(3.6, 2.6), (4.0, 2.6)])
    sheet.box(4.6, 2.6, "hidden\nlayer", 1.2, 0.7, GREEN)
    sheet.arrow([(5.2, 2.6), (5.45, 2.6), (5.45, 2.95), (5.8, 2.95)])
    sheet.arrow([(5.45, 2.6), (5.45, 2.25), (5.8, 2.25)])
    sheet.box(6.6, 2.95, "says words (B,P,W)", 1.6, 0.5, BLUE)
    sheet.box(6.6, 2.25, "detail (B,P,D)", 1.6, 0.5, GREEN)
    sheet.arrow([(7.4, 2.95), (7.9, 2.95), (7.9, 2.6), (8.2, 2.6)])
    sheet.arrow([(7.4, 2.25), (7.9, 2.25), (7.9, 2.6), (8.2, 2.6)])
    sheet.box(8.8, 2.6, "visual tokens\n(B,P,D)", 1.2, 0.7, BLUE)
    sheet.arrow([(8.8, 2.25), (8.8, 1.6), (5.6, 1.6), (5.6, 1.25)])
    sheet.box(0.95, 0.9, "caption so far\n(B,T)", 1.3, 0.7, GREY)
    sheet.arrow([(1.6, 0.9), (2.2, 0.9)])
    sheet.box(2.9, 0.9, "word table\n(frozen)", 1.4, 0.7, GREY)
    sheet.arrow([(3.6, 0.9), (4.5, 0.9)])
    sheet.shape(4.05, 1.1, "(B,T,D)")
    sheet.box(5.6, 0.9, "language model\nreads (B,P+T,D)", 2.2, 0.7, ORANGE)
    sheet.arrow([(6.7, 0.9), (8.1, 0.9)])
    sheet.shape(7.4, 1.1, "(B,T,V)")
    sheet.note(8.75, 0.9, "next words")
    sheet.note(
        4.8, 3.5, "B pictures   N cells   P visual tokens   C, D channels   W content words   T words   V pieces"
    )
    sheet.note(4.8, 0.25, "grey: frozen    green: learned    blue: learns words first    orange: frozen, with adapters")
    sheet.save("09_seeing")


figures.style()
main()
