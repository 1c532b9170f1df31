"""Outline things: a preset's encoder, a decoder with skip connections, Dice and cross-entropy."""

from medzoo.tasks.segment.measures import dice, hausdorff
from medzoo.tasks.segment.run import outline, train_segmenter
from medzoo.tasks.segment.segmenter import DiceCrossEntropy, Segmenter

__all__ = ["DiceCrossEntropy", "Segmenter", "dice", "hausdorff", "outline", "train_segmenter"]
