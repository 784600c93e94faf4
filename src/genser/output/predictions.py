"""Predictions as rows of a table, and as lines of text."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from genser.data.text import printable
from genser.inference.prediction import NO_SPEECH, Prediction
from genser.output.tables import PerClass, Rows

CONDITIONS = {"speech": float, "familiar": float, "duration": float, "heard": float}
SCORED = {"path": str, "label": str, "score": float, "scores": PerClass()}
COLUMNS = {**SCORED, **CONDITIONS, "channel": int, "remark": str, "error": str}
FURTHER_CLASSES = 2  # classes on a line of text after the label


def prediction_rows(predictions: Iterable[Prediction], labels: Sequence[str]) -> Rows:
    """One row per prediction; numbers are rounded to six digits."""
    return Rows(COLUMNS, labels, map(_row, predictions))


def _row(prediction: Prediction) -> dict[str, Any]:
    row = prediction.to_dict()
    rounded = {name: round(value, 6) for name, value in row.items() if isinstance(value, float)}
    return row | rounded | {"scores": {label: round(score, 6) for label, score in prediction.scores.items()}}


def prediction_lines(predictions: Iterable[Prediction], labels: Sequence[str]) -> Iterator[str]:
    """One line per prediction: label, its score, path, channel, the classes with the next highest scores, remark."""
    width = max(map(len, (*labels, NO_SPEECH)))
    for prediction in predictions:
        if prediction.error is not None:
            yield f"{'failed':{width}}        {printable(prediction.error)}"
            continue
        others = [item for item in prediction.scores.items() if item[0] != prediction.label]
        others.sort(key=lambda item: -item[1])
        rest = ", ".join(f"{printable(name)} {score:.2f}" for name, score in others[:FURTHER_CLASSES])
        label = printable(prediction.label or NO_SPEECH)
        score = "    " if prediction.score is None else f"{prediction.score:.2f}"
        shown = "" if prediction.label == NO_SPEECH else f"  ({rest})"
        channel = "" if prediction.channel is None else f" channel {prediction.channel}"
        remark = f"  {printable(prediction.remark)}" if prediction.remark else ""
        yield f"{label:{width}}  {score}  {printable(prediction.path)}{channel}{shown}{remark}"
