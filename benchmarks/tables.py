"""Put the numbers of the benchmarks into the documentation.

    python benchmarks/tables.py FOLDER [--into docs/performance.md]

FOLDER holds what the scripts wrote with --json. Between the lines `<!-- table: NAME -->` and `<!-- end -->` of the text
stands the table of NAME.json, with the machine it was measured on; where there is no such file the text stays.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def cell(value: Any) -> str:
    if value is None:
        return ""
    return (
        f"{value:,.3g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:,.0f}"
        if isinstance(value, float)
        else str(value)
    )


def table(record: dict[str, Any]) -> str:
    headings = list(dict.fromkeys(name for row in record["rows"] for name in row))
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)]]
    lines += [[cell(row.get(name)) for name in headings] for row in record["rows"]]
    machine = record["machine"]
    versions = ", ".join(
        f"{name} {machine[name]}" for name in ("onnxruntime", "torch", "transformers") if name in machine
    )
    place = f"{machine['gpu'] or machine['processor']}, {machine['cores']} cores (load {machine['load']}), {versions}"
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\nMeasured on {place}.\n"


def filled(text: str, folder: Path) -> str:
    def replaced(match: re.Match) -> str:
        file = folder / f"{match[2]}.json"
        if not file.exists():
            return match[0]
        return match[1] + table(json.loads(file.read_text("utf-8"))) + match[3]

    return PLACE.sub(replaced, text)


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    made.add_argument("folder", type=Path)
    made.add_argument("--into", type=Path, default=Path("docs/performance.md"))
    arguments = made.parse_args()
    arguments.into.write_text(filled(arguments.into.read_text("utf-8"), arguments.folder), encoding="utf-8")


if __name__ == "__main__":
    main()
