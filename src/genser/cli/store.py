"""``genser store``: checks a feature store, and adds other stores to it."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from genser.cli._notes import note


def store(
    folder: Path = Path("features"), *, merge: Annotated[list[Path] | None, Parameter(negative="")] = None
) -> int:
    """Read a whole feature store, compare it with its checksums, and print what it contains.

    Example: genser store features --merge other-features

    Args:
        folder: Folder of the feature store.
        merge: Another feature store, whose rows are added first; may be given several times. Its shards are checked,
            and it stays as it is.

    Returns:
        0 if nothing is damaged, else 1.
    """
    from genser.data.store_upkeep import check, merge_stores, stores
    from genser.errors import StoreError

    for other in merge or []:
        note(f"{merge_stores(folder, other)} rows from {other} are new.")
    found = stores(folder)
    if not found:
        raise StoreError(f"{folder} is not a feature store: no subfolder has a settings.json. Check the path.")
    problems = []
    for one in found:
        problems += check(one)
        shape, copy = " x ".join(map(str, one.shape)), one.settings.get("augmented_copy")
        encoder = f"encoder {one.encoder_fingerprint[:12]}" + (f", augmented copy {copy['number']}" if copy else "")
        print(f"{one.folder}: {len(one)} rows of {shape} in {len(one.names)} shards, {encoder}")
    for problem in problems:
        note(problem)
    return 1 if problems else 0
