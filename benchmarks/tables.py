"""Puts the numbers of the benchmarks into the documentation.

    python benchmarks/tables.py FOLDER [--into docs/performance.md]

FOLDER holds the files that the scripts wrote with --json. The text between the lines `<!-- table: NAME -->` and
`<!-- end -->` is replaced by the table of NAME.json and its machine; without such a file it stays.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from _common import cell

TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(record: dict[str, Any]) -> str:
    headings = list(dict.fromkeys(name for row in record["rows"] for name in row))
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)]]
    lines += [[cell(row.get(name)) for name in headings] for row in record["rows"]]
    machine = record["machine"]
    cores = f"{machine['cores']} cores (load {machine['load']})"
    versions = ", ".join(
        f"{name} {machine[name]}" for name in ("onnxruntime", "torch", "transformers") if name in machine
    )
    device = machine["gpu"] or machine["processor"]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\nMeasured on {device}, {cores}, {versions}.\n"


def filled(text: str, folder: Path) -> str:
    def replaced(match: re.Match) -> str:
        file = folder / f"{match[2]}.json"
        if not file.exists():
            return match[0]
        return match[1] + table(json.loads(file.read_text("utf-8"))) + match[3]

    return TABLE.sub(replaced, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--into", type=Path, default=Path("docs/performance.md"))
    arguments = parser.parse_args()
    arguments.into.write_text(filled(arguments.into.read_text("utf-8"), arguments.folder), encoding="utf-8")


if __name__ == "__main__":
    main()
