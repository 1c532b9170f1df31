"""Anomaly detection in image files, written as a table and figures."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medzoo.io.image import read_image
from medzoo.tasks.anomaly.detector import AnomalyDetector
from medzoo.tasks.anomaly.maps import find_boxes
from medzoo.utils.files import atomic_write
from medzoo.utils.progress import track
from medzoo.visualization import save_anomaly_map

FIGURE_SIZE = 256  # side length of the images in figures, in pixels
COLUMNS = ("file", "score", "anomaly", "boxes (top, left, bottom, right)")


def find_anomalies(detector: AnomalyDetector, files: Sequence[str | Path], out: str | Path) -> list[dict[str, Any]]:
    """Detect anomalies in image files.

    Writes `scores.csv` and one figure with anomaly map and bounding boxes per file.

    Args:
        detector: A fitted `AnomalyDetector`.
        files: Paths of image files.
        out: Folder to write to; it is created if it does not exist.

    Returns:
        One dict per file, in the order of the files, with `"file"`, `"score"`, `"anomaly"` (bool) and `"boxes"` (lists
        of top, left, bottom, right in pixels of the figure's image).
    """
    out = Path(out)
    rows: list[dict[str, Any]] = []
    out.mkdir(parents=True, exist_ok=True)
    decisions = detector.predict(files)  # warns of an acquisition shift
    for number, file in enumerate(track(files, "detecting anomalies")):
        score = float(detector.anomaly_scores([file])[0])
        image = read_image(file, FIGURE_SIZE, detector.model_.preprocess.window)
        anomaly_map = detector.anomaly_map([file], image.shape[:2])[0]
        anomalous = decisions[number] < 0
        boxes = [[int(n) for n in box] for box in find_boxes(anomaly_map)]
        title = f"{Path(file).name}: {score:.2f} ({'above' if anomalous else 'below'} {detector.threshold_:.2f})"
        save_anomaly_map(out / f"{number:05d}-{Path(file).stem}.png", image, anomaly_map, boxes, title)
        rows.append({"file": str(file), "score": score, "anomaly": bool(anomalous), "boxes": boxes})
    with atomic_write(out / "scores.csv") as part, open(part, "w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(COLUMNS)
        writer.writerows([r["file"], f"{r['score']:.4f}", int(r["anomaly"]), json.dumps(r["boxes"])] for r in rows)
    return rows
