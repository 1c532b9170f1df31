"""Image classification with a pretrained encoder."""

from medzoo.tasks.classify.classifier import Classifier, class_weights, fine_tune
from medzoo.tasks.classify.pipeline import classify_files, train_classifier

__all__ = ["Classifier", "class_weights", "classify_files", "fine_tune", "train_classifier"]
