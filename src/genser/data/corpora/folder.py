"""Any folder with one subfolder per label."""

from pathlib import Path

from genser.data.corpora.report import Collector, CorpusReport, sound_files
from genser.data.utterance import SPLIT_NAMES

NAME = "folder"
LAYOUT = "happy/any/name.wav, or train/happy/name.wav"


def read(root: Path) -> CorpusReport:
    """Read audio files in one subfolder per label. If all subfolders are named as splits, labels are one level below.

    Labels are the names of the subfolders. Speakers are unknown.
    """
    collector = Collector(root)
    sounds = sound_files(root)
    tops = {path.relative_to(root).parts[0] for path in sounds if path.parent != root}
    depth = 1 if tops and all(top.lower() in SPLIT_NAMES for top in tops) else 0
    for path in sounds:
        folders = path.relative_to(root).parts[:-1]
        if len(folders) <= depth:
            collector.problem(path, "is not in the folder of a label, omitted")
            continue
        split = SPLIT_NAMES[folders[0].lower()] if depth else None
        collector.add(str(path), path, label=folders[depth], split=split)
    return collector.report()
