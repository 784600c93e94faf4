"""One colour for each emotion, the same in pictures and on the page."""

from collections.abc import Sequence

EMOTION_COLORS = {
    "neutral": "#7f8790",
    "calm": "#2a9d8f",
    "happiness": "#e0a100",
    "sadness": "#3b7dd8",
    "anger": "#d1372c",
    "fear": "#8a56c2",
    "disgust": "#5d8a1e",
    "surprise": "#d9489a",
    "boredom": "#8c6a4f",
}
OTHER_COLORS = ("#1b7fc4", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#a6761d")


def colors_of(labels: Sequence[str]) -> dict[str, str]:
    """A colour for each label: an emotion's own, or the next of the others."""
    unknown = [label for label in labels if label not in EMOTION_COLORS]
    others = {label: OTHER_COLORS[i % len(OTHER_COLORS)] for i, label in enumerate(unknown)}
    return {label: EMOTION_COLORS.get(label) or others[label] for label in labels}
