"""Indian EmoSpeech v0.1, one command word in English or Hindi on people's own phones (arXiv:1910.13801).

The parts of a name are keyword, environment, emotion, time (``??`` in six names) and a hash of the speaker. The keyword
``background`` means that there is no speech; these clips have the label "no speech", whatever emotion they name. Names:
README of the corpus (github.com/RakshakTeam/emospeech-dataset-v1). Speakers have 1 to 299 clips, and about a third of a
clip is speech.
"""

import re
from pathlib import Path

from genser.data.corpora.report import Collector, CorpusReport, sound_files
from genser.data.labels import NO_SPEECH

NAME = "emospeech"
LAYOUT = "webservice/help-safe-angry-1563001799259-<hash>.wav"
LABELS = {"calm": "neutral", "happy": "happiness", "angry": "anger", "fearful": "fear"}  # calm is its only baseline
BACKGROUND = "background"
LANGUAGES = {
    "bacho": "hi",
    "help": "en",
    "stop": "en",
    "no": "en",
    "go": "en",
    "yes": "en",
    "unknown": None,
    BACKGROUND: None,
}
"""Language of each keyword; None where the keyword is no word."""
NO_SPEAKER = "d14a028c2a3a"  # beginning of the hash for an unknown user
PATTERN = re.compile(r"([a-z]+)-([a-z_]+)-([A-Za-z]+)-[^-]+-([0-9a-f]{12})[0-9a-f]*")


def read(root: Path) -> CorpusReport:
    """Read the clips ``keyword-environment-emotion-time-hash``; a speaker is the first 12 digits of the hash.

    A word that is not in the list of keywords is ``unknown``: its text and language stay empty. The environment
    (``safe``, ``scream``, ``glass_break``, ``gunshots``) is an extra column.
    """
    collector = Collector(root, NAME)
    for path in sound_files(root):
        match = PATTERN.fullmatch(path.stem)
        word, environment, emotion, person = match.groups() if match else ("",) * 4
        label = NO_SPEECH if word == BACKGROUND else LABELS.get(emotion)
        if label is None or word not in LANGUAGES:
            collector.problem(path, f"is not named like {LAYOUT}")
            continue
        collector.add(
            path.stem,
            path,
            label=label,
            speaker=None if person == NO_SPEAKER else person,
            text=word if LANGUAGES[word] else None,
            extra={"language": LANGUAGES[word], "environment": environment},
        )
    return collector.report()
