"""Find what is unlike normal images: fit on normal images only, get scores, heat maps, boxes and a threshold."""

from medzoo.tasks.anomaly.detector import AnomalyDetector, find_boxes
from medzoo.tasks.anomaly.pipeline import find_anomalies
from medzoo.tasks.anomaly.threshold import attained_rate, conformal_threshold

__all__ = ["AnomalyDetector", "attained_rate", "conformal_threshold", "find_anomalies", "find_boxes"]
