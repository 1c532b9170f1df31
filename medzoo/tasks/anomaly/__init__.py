"""Anomaly detection fitted to normal images only: scores, a conformal threshold, anomaly maps and bounding boxes."""

from medzoo.tasks.anomaly.detector import AnomalyDetector
from medzoo.tasks.anomaly.maps import find_boxes
from medzoo.tasks.anomaly.pipeline import find_anomalies
from medzoo.tasks.anomaly.threshold import attained_rate, conformal_threshold

__all__ = ["AnomalyDetector", "attained_rate", "conformal_threshold", "find_anomalies", "find_boxes"]
