"""Scores, heat maps and boxes of many files, as a table and pictures."""

import csv
import json
from pathlib import Path

from medzoo.io.image import read_image
from medzoo.tasks.anomaly.detector import find_boxes
from medzoo.utils.files import written_whole
from medzoo.utils.progress import track
from medzoo.visualization import save_heat_map

PICTURE = 256  # pixels a side of the pictures
COLUMNS = ("file", "score", "anomaly", "boxes (top, left, bottom, right)")


def find_anomalies(detector, files, out):
    """Writes `scores.csv` and for each file a picture with its heat map and boxes.

    Args:
        detector: a fitted `AnomalyDetector`.
        files: image files.
        out: folder to write to; made if it is not there.

    Returns: list of dicts `{"file", "score", "anomaly" (bool), "boxes"}`, in the files' order.
    """
    out, rows = Path(out), []
    out.mkdir(parents=True, exist_ok=True)
    called = detector.predict(files)  # warns of images from elsewhere
    for number, file in enumerate(track(files, "looking for anomalies")):
        score = float(detector.anomaly_scores([file])[0])
        image = read_image(file, PICTURE, detector.model_.preprocess.window)
        heat = detector.anomaly_map([file], image.shape[:2])[0]
        strange = called[number] < 0
        boxes = [[int(n) for n in box] for box in find_boxes(heat)]
        title = f"{Path(file).name}: {score:.2f} ({'above' if strange else 'below'} {detector.threshold_:.2f})"
        save_heat_map(out / f"{number:05d}-{Path(file).stem}.png", image, heat, boxes, title)
        rows.append({"file": str(file), "score": score, "anomaly": bool(strange), "boxes": boxes})
    with written_whole(out / "scores.csv") as part, open(part, "w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(COLUMNS)
        writer.writerows([r["file"], f"{r['score']:.4f}", int(r["anomaly"]), json.dumps(r["boxes"])] for r in rows)
    return rows
