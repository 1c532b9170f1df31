"""Outline things: a preset's encoder within a U-Net, Dice and cross-entropy."""

from medzoo.tasks.segment.measures import dice, hausdorff
from medzoo.tasks.segment.pairs import MovedPairs
from medzoo.tasks.segment.run import outline, train_segmenter
from medzoo.tasks.segment.segmenter import DiceCrossEntropy, Segmenter

__all__ = ["DiceCrossEntropy", "MovedPairs", "Segmenter", "dice", "hausdorff", "outline", "train_segmenter"]
