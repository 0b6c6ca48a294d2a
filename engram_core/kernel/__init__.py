"""The compiled part of Engram: text analysis, index, scoring, fit and exact token counts, over plain arrays.

Driven by recall and tokens; imports nothing of ours. Each module has a ``.pyi`` beside it.
"""
