"""Draws 07_ofa.png: OFA with the shape of what flows along each arrow, and the two ways of naming a style."""

from sheet import Sheet

from captioning.plots import figures
from captioning.plots.figures import BLUE, GREEN, GREY, INK, ORANGE, PALE, RED


def main():
    sheet = Sheet(9.6, 4.2)
    sheet.box(0.85, 3.45, "picture", 1.0, 0.5, GREY)
    sheet.box(2.75, 3.45, "ResNet\n(frozen)", 1.1, 0.6, GREY)
    sheet.arrow([(1.35, 3.45), (2.2, 3.45)])
    sheet.shape(1.77, 3.6, "(B,3,H,W)")
    sheet.frame(0.3, 1.05, 3.0, 1.25, "#f6f7f9", PALE)
    sheet.note(0.42, 2.08, "prompt", INK, "left")
    sheet.note(0.42, 1.72, "what does the image describe?", align="left")
    sheet.note(0.42, 1.47, "reply in personality", align="left")
    sheet.axes.text(1.9, 1.47, "Sarcastic", fontsize=8.5, color=RED, va="center", weight="bold")
    sheet.axes.text(1.9, 1.22, "or <code_5>", fontsize=8.5, color=RED, va="center", weight="bold")
    sheet.box(5.1, 2.6, "encoder\nself-attention over\ncells and words", 1.6, 0.95, BLUE)
    sheet.arrow([(3.3, 3.45), (5.1, 3.45), (5.1, 3.08)])
    sheet.shape(4.1, 3.6, "cells (B,N,C)")
    sheet.arrow([(3.3, 1.67), (3.9, 1.67), (3.9, 2.5), (4.3, 2.5)])
    sheet.shape(3.98, 2.0, "ids (B,P)", "left")
    sheet.box(7.75, 2.6, "decoder\nmasked self-attention,\ncross-attention", 1.95, 0.95, GREEN)
    sheet.arrow([(5.9, 2.6), (6.77, 2.6)])
    sheet.shape(6.34, 2.75, "(B,N+P,D)")
    sheet.box(7.75, 1.15, "words so far", 1.3, 0.45, GREY)
    sheet.arrow([(7.75, 1.38), (7.75, 2.12)])
    sheet.shape(7.83, 1.75, "(B,T,D)", "left")
    sheet.arrow([(8.73, 2.6), (9.05, 2.6), (9.05, 2.05)])
    sheet.shape(9.05, 2.82, "(B,T,V)")
    sheet.note(9.05, 1.85, "next word", INK)
    sheet.box(6.4, 3.72, "positions", 1.0, 0.42, ORANGE)
    sheet.arrow([(5.9, 3.72), (5.45, 3.72), (5.45, 3.08)], ORANGE)
    sheet.arrow([(6.9, 3.72), (7.75, 3.72), (7.75, 3.08)], ORANGE)
    sheet.shape(7.84, 3.45, "biases (h,T,S)", "left")
    sheet.note(6.4, 4.05, "never added to the words: they tilt the attention", ORANGE)
    sheet.note(4.8, 0.45, "B pictures   N cells   P words of the prompt   S = N + P   T words   D width   h heads")
    sheet.save("07_ofa")


figures.style()
main()
