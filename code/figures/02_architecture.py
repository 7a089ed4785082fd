"""Draws 02_self_attention.png, 02_attention_gru.png and 02_transformer.png: notebook 02's models, with the shape of
what flows along each arrow."""

from sheet import Sheet

from captioning.plots import figures
from captioning.plots.figures import BLUE, GREEN, GREY, INK, ORANGE, PALE, PURPLE, RED, SKY


def self_attention():
    sheet = Sheet(9.6, 2.9)
    sheet.box(0.75, 1.45, "cells", 0.9, 0.6, GREY)
    for y, name, colour in ((2.35, "queries", BLUE), (1.45, "keys", GREEN), (0.55, "values", ORANGE)):
        sheet.box(2.9, y, name, 1.05, 0.5, colour)
        sheet.arrow([(1.2, 1.45), (1.62, 1.45), (1.62, y), (2.37, y)])
        sheet.shape(2.0, y + 0.12, "(B,N,D)")
    sheet.box(5.0, 1.9, "scores\n$q\\cdot k\\,/\\sqrt{d}$", 1.15, 0.7, SKY)
    sheet.arrow([(3.43, 2.35), (3.9, 2.35), (3.9, 2.05), (4.42, 2.05)])
    sheet.shape(3.95, 2.5, "(B,h,N,d)")
    sheet.arrow([(3.43, 1.45), (3.9, 1.45), (3.9, 1.75), (4.42, 1.75)])
    sheet.shape(3.95, 1.28, "(B,h,N,d)")
    sheet.box(6.9, 1.9, "softmax", 0.95, 0.5, SKY)
    sheet.arrow([(5.58, 1.9), (6.42, 1.9)])
    sheet.shape(6.0, 2.04, "(B,h,N,N)")
    sheet.box(8.55, 1.9, "mix", 0.8, 0.5, SKY)
    sheet.arrow([(7.38, 1.9), (8.15, 1.9)])
    sheet.shape(7.76, 2.04, "(B,h,N,N)")
    sheet.arrow([(3.43, 0.55), (8.55, 0.55), (8.55, 1.65)])
    sheet.shape(5.9, 0.67, "(B,h,N,d)")
    sheet.arrow([(8.95, 1.9), (9.5, 1.9)])
    sheet.shape(9.22, 2.28, "(B,N,D)")
    sheet.note(4.9, 0.18, "B pictures    N cells    D width    h heads    d = D / h")
    sheet.save("02_self_attention")


def attention_gru():
    sheet = Sheet(9.6, 3.9)
    sheet.box(0.8, 2.9, "picture", 1.0, 0.5, GREY)
    sheet.box(2.55, 2.9, "encoder\n(frozen)", 1.15, 0.6, GREY)
    sheet.box(4.65, 2.9, "grid\nself-attention", 1.35, 0.6, BLUE)
    sheet.box(7.15, 2.9, "additive\nattention", 1.3, 0.6, RED)
    sheet.box(7.15, 1.5, "GRU", 1.3, 0.55, GREEN)
    sheet.box(4.65, 1.5, "previous\nword", 1.1, 0.55, GREY)
    sheet.box(9.0, 1.5, "head", 0.75, 0.5, PURPLE)
    for left, right, text in ((1.3, 1.97, "(B,3,H,W)"), (3.13, 3.97, "(B,N,C)"), (5.33, 6.5, "(B,N,D)")):
        sheet.arrow([(left, 2.9), (right, 2.9)])
        sheet.shape((left + right) / 2, 3.27 if text == "(B,3,H,W)" else 3.02, text)
    for left, right, above in ((5.2, 6.5, -0.12), (7.8, 8.62, 0.12)):
        sheet.arrow([(left, 1.5), (right, 1.5)])
        sheet.shape((left + right) / 2, 1.5 + above, "(B,D)")
    sheet.arrow([(7.8, 2.9), (9.0, 2.9), (9.0, 1.75)])
    sheet.shape(8.93, 2.3, "context\n(B,D)", "right")
    sheet.arrow([(7.15, 1.78), (7.15, 2.6)], RED)
    sheet.shape(7.05, 2.18, "memory asks:\nwhere now? (B,D)", "right")
    sheet.arrow([(4.65, 2.6), (4.65, 2.1), (5.6, 2.1), (5.6, 1.62), (6.5, 1.62)])
    sheet.shape(4.72, 2.28, "mean (B,D)", "left")
    sheet.arrow([(9.0, 1.25), (9.0, 0.75)])
    sheet.shape(9.07, 1.0, "(B,V)", "left")
    sheet.note(9.0, 0.58, "next word", INK)
    sheet.arrow([(7.15, 1.22), (7.15, 0.75), (6.15, 0.75), (6.15, 1.33), (6.5, 1.33)], GREEN, "--")
    sheet.shape(6.65, 0.58, "memory, for the next word (B,D)")
    sheet.arrow([(7.15, 3.2), (7.15, 3.58)], RED)
    sheet.note(7.15, 3.72, "attention map (B,N), one for every word", RED)
    sheet.note(3.0, 0.35, "B pictures    N cells    C channels    D width    V vocabulary")
    sheet.save("02_attention_gru")


def transformer():
    sheet = Sheet(9.6, 4.3)
    sheet.frame(3.0, 0.75, 4.9, 3.3, "#f6f7f9", PALE)
    sheet.note(7.78, 3.85, "decoder layer, repeated", align="right")
    sheet.note(6.45, 1.05, "every box adds to the stream:\nx + box(norm(x))")
    sheet.box(0.75, 3.7, "picture", 0.95, 0.5, GREY)
    sheet.box(0.75, 2.75, "encoder\n(frozen)", 1.1, 0.55, GREY)
    sheet.box(0.75, 1.7, "grid\nself-attention", 1.3, 0.6, BLUE)
    sheet.box(3.95, 0.33, "words so far", 1.3, 0.42, GREY)
    sheet.box(3.95, 1.7, "masked\nself-attention", 1.4, 0.62, GREEN)
    sheet.box(5.65, 2.55, "cross-\nattention", 1.2, 0.62, RED)
    sheet.box(7.1, 3.3, "feed-\nforward", 1.05, 0.6, ORANGE)
    sheet.box(9.0, 3.3, "head", 0.8, 0.5, PURPLE)
    for x, top, bottom, text in ((0.75, 3.45, 3.03, "(B,3,H,W)"), (0.75, 2.47, 2.0, "(B,N,C)")):
        sheet.arrow([(x, top), (x, bottom)])
        sheet.shape(x + 0.08, (top + bottom) / 2, text, "left")
    sheet.arrow([(3.95, 0.54), (3.95, 1.39)])
    sheet.shape(4.03, 0.93, "(B,T,D)", "left")
    sheet.arrow([(4.65, 1.7), (5.65, 1.7), (5.65, 2.24)])
    sheet.shape(5.73, 1.95, "queries (B,T,D)", "left")
    sheet.arrow([(6.25, 2.55), (7.1, 2.55), (7.1, 3.0)])
    sheet.shape(7.18, 2.78, "(B,T,D)", "left")
    sheet.arrow([(1.4, 1.7), (2.35, 1.7), (2.35, 2.55), (5.05, 2.55)])
    sheet.shape(3.7, 2.67, "keys, values (B,h,N,d), once a picture")
    sheet.arrow([(5.65, 2.86), (5.65, 3.45)], RED)
    sheet.note(5.4, 3.6, "attention maps (B,T,N)", RED)
    sheet.arrow([(7.63, 3.3), (8.6, 3.3)])
    sheet.shape(8.24, 3.42, "(B,T,D)")
    sheet.arrow([(9.0, 3.05), (9.0, 2.4)])
    sheet.shape(8.95, 2.72, "(B,T,V)", "right")
    sheet.note(9.0, 2.15, "next word\nafter each word", INK)
    sheet.note(7.1, 0.33, "B pictures   N cells   T words   D width   h heads   d = D / h   V vocabulary")
    sheet.save("02_transformer")


figures.style()
self_attention()
attention_gru()
transformer()
