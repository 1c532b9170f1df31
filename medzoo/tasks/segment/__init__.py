"""Image segmentation with a U-Net on a pretrained encoder."""

from medzoo.metrics.segmentation import dice, hausdorff_distance
from medzoo.tasks.segment.augmentation import AugmentedSegmentationDataset
from medzoo.tasks.segment.pipeline import segment_file, train_segmenter
from medzoo.tasks.segment.segmenter import DiceCrossEntropy, Segmenter

__all__ = [
    "AugmentedSegmentationDataset",
    "DiceCrossEntropy",
    "Segmenter",
    "dice",
    "hausdorff_distance",
    "segment_file",
    "train_segmenter",
]
