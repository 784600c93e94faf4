"""Metrics of a run as JSON lines."""

import json
from pathlib import Path


def append_metrics(path: Path, metrics: dict[str, float]) -> None:
    """Add a line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(metrics) + "\n")


def read_metrics(path: Path, until: int) -> list[dict[str, float]]:
    """Lines up to a step; later ones, which a killed run wrote after its last checkpoint, are dropped from the file."""
    if not path.exists():
        return []
    lines = [line for line in path.read_text("utf-8").splitlines() if line.endswith("}")]
    kept = [line for line in lines if json.loads(line)["step"] <= until]
    part = path.with_name(path.name + ".part")
    part.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    part.replace(path)
    return [json.loads(line) for line in kept]
