"""``genser features``: encode every utterance of a manifest once, and keep it."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def features(
    manifest: Path,
    *,
    encoder: str = "hubert",
    revision: str | None = None,
    store: Annotated[Path, Parameter(alias="-o")] = Path("features"),
    device: str = "cpu",
    batch_seconds: float = 60.0,
) -> int:
    """Compute the pooled hidden states of a manifest; what is in the store already is not computed again.

    Stopped at any moment and started again, it goes on where it was.

    Args:
        manifest: CSV, JSON lines or Parquet.
        encoder: "hubert:FOLDER-OR-HUB-ID", "whisper:FILE-OR-HUB-ID" or "fbank"; "hubert" alone is the paper's.
        revision: Commit of a hub id.
        store: Folder of the feature store; each encoder has its own inside.
        device: "cpu" or "cuda".
        batch_seconds: Sound in one batch, in seconds.

    Returns:
        0 if every utterance has features, 1 if some could not be read.
    """
    from genser.cli._encoders import encoder_named
    from genser.cli._extras import training_extra
    from genser.cli._progress import progress_bars

    with training_extra("Encoding"):
        from genser.data.features import compute_features, decoding_pool, open_store
        from genser.data.manifest import read_manifest
        from genser.encoders import load_encoder
    utterances = read_manifest(manifest)
    network = load_encoder(encoder_named(encoder, revision), device)
    with progress_bars() as bars, decoding_pool() as pool:
        done = compute_features(
            utterances,
            network,
            open_store(store, network),
            progress=lambda rows, total: bars("features", rows, total),
            batch_seconds=batch_seconds,
            pool=pool,
        )
    for problem in done.problems:
        print(problem, file=sys.stderr)
    kept = len(utterances) - len(done.problems)
    print(f"{kept} of {len(utterances)} utterances have features, {done.computed} new → {store}", file=sys.stderr)
    return 1 if done.problems else 0
