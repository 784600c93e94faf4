"""``genser features``: encodes every utterance of a manifest once, and stores its features."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from genser.cli._bulk import Bulk, bulk_of, run_bulk
from genser.cli._notes import note

if TYPE_CHECKING:
    from genser.encoders import EncoderConfig


def features(
    manifest: str,
    *overrides: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    recipe: str = "small",
    encoder: str | None = None,
    revision: str | None = None,
    store: Annotated[str, Parameter(alias="-o")] = "features",
    device: str = "cpu",
    batch_seconds: float = 60.0,
    bulk: Bulk | None = None,
) -> int:
    """Encode the clips of a table once, for genser train and genser bench; stored features are not computed again.

    The features depend on the encoder and on its pooling, which are those of the recipe. A run that was stopped
    continues where it was. Settings of the recipe can be changed by their dotted names, such as
    --encoder.pooling.states 1,2,3.

    Example: genser features mine.csv

    Args:
        manifest: CSV, JSON lines or Parquet; with --engine also a folder, an audio file, or a URL of any of them.
        recipe: Name of a packaged recipe, or a YAML file; the default is that of genser train.
        encoder: "whisper:FILE-OR-HUB-ID", "hubert:FOLDER-OR-HUB-ID", a path or hub id alone, "fbank" or "egemaps". The
            default is the encoder of the recipe.
        revision: Commit of a hub id; the newest if omitted.
        store: Folder of the feature store; with --engine the folder or URL of the Parquet shards.
        device: "cpu", a GPU such as "cuda" or "cuda:1", or "auto": the GPU if there is one, else the CPU.
        batch_seconds: Audio in one batch, in seconds.
        bulk: Where a bulk run is computed.

    Returns:
        0 if every utterance has features, 1 if some could not be read.
    """
    from genser.cli._extras import training_extra
    from genser.cli._outputs import check_folder
    from genser.cli._overrides import parse_overrides
    from genser.cli._progress import progress_bars

    with training_extra("Encoding"):
        from genser.data.features import compute_features, decoding_pool, open_store
        from genser.data.manifest import read_manifest
        from genser.encoders import load_encoder, named_encoder
        from genser.inference.load import found_device
        from genser.training.recipe import KEYS, load_recipe
    config = load_recipe(recipe, parse_overrides(overrides, "features", KEYS)).encoder
    config = named_encoder(encoder, config, revision) if encoder else config
    if chosen_bulk := bulk_of(bulk, {}):
        from genser.scale.job import Job, Setup

        job = Job("features", encoder=config, bf16=found_device(device) != "cpu")
        return run_bulk(job, Setup(device, batch_seconds=batch_seconds), [manifest], store, chosen_bulk)
    check_folder(Path(store))
    utterances = read_manifest(manifest)
    network = load_encoder(config, found_device(device))
    opened = open_store(store, network)
    with progress_bars() as bars, decoding_pool() as pool:
        done = compute_features(
            utterances,
            network,
            opened,
            progress=lambda rows, total: bars("features", rows, total),
            batch_seconds=batch_seconds,
            pool=pool,
        )
    for problem in done.problems:
        note(problem)
    kept = len(utterances) - len(done.problems)
    note(
        f"{kept} of {len(utterances)} utterances have features of {_named(config)}, {done.computed} of them new → "
        f"{opened.folder}"
    )
    return 1 if done.problems else 0


def _named(config: "EncoderConfig") -> str:
    """An encoder with its statistics and states in words."""
    name = ":".join(filter(None, (config.kind, config.source)))
    states = ", ".join(map(str, config.pooling.states)) or "all"
    return f"{name} ({', '.join(config.pooling.statistics)}; states {states})"
