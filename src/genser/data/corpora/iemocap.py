"""IEMOCAP, English dialogues of ten actors in five sessions (Busso et al., 2008, doi:10.1007/s10579-008-9076-6)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from genser.data.corpora.report import Collector, CorpusReport, sound_files
from genser.data.tables import decode_text

NAME = "iemocap"
LAYOUT = "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt and Session1/sentences/wav/Ses01F_impro01/*.wav"
LABELS = {
    "neu": "neutral",
    "hap": "happiness",
    "sad": "sadness",
    "ang": "anger",
    "fea": "fear",
    "dis": "disgust",
    "sur": "surprise",
    "exc": "excitement",
    "fru": "frustration",
    "oth": "other",
}
NO_AGREEMENT = "xxx"
SESSIONS = tuple(f"Session{number}" for number in range(1, 6))
EVALUATION = re.compile(r"\[(\d+\.\d+) - (\d+\.\d+)\]\s+(Ses\d\d[FM]_\w+_([FM])\d+)\s+([a-z]{3})\s+\[")
TRANSCRIPT = re.compile(r"(Ses\d\d[FM]_\w+)\s+\[[\d.]+-[\d.]+\]:\s*(.+)")
GENDERS = {"F": "female", "M": "male"}


@dataclass(frozen=True)
class _Turn:
    """One line of an evaluation file."""

    name: str
    session: str
    dialogue: str
    start: float
    end: float
    gender: str
    code: str


def read(root: Path) -> CorpusReport:
    """Read the turns of the evaluation files.

    The audio of a turn is its file in ``sentences/wav``, or else its part of the dialogue in ``dialog/wav``.
    Turns without agreement (``xxx``) are reported and omitted. The last letter of
    ``Ses01F_impro01_M003`` is the speaker.
    """
    collector = Collector(root, NAME, "en")
    sounds = {path.stem: path for path in reversed(sound_files(root))}
    words = dict(_words(root))
    turns = list(_turns(root))
    evaluated = {turn.session for turn in turns}
    missing = [name for name in SESSIONS if name not in evaluated]
    names = {turn.name for turn in turns}
    for stem, path in sounds.items():
        if "sentences" in path.relative_to(root).parts and stem not in names:
            collector.problem(path, "is in no evaluation file, omitted")
    for turn in turns:
        path = sounds.get(turn.name) or sounds.get(turn.dialogue)
        if path is None:
            missing.append(turn.name)
        elif turn.code not in LABELS:
            agreed = "its annotators did not agree" if turn.code == NO_AGREEMENT else f"unknown emotion {turn.code!r}"
            collector.problem(path, f"{turn.name}: {agreed}, omitted")
        else:
            whole = path.stem == turn.name
            collector.add(
                turn.name,
                path,
                label=LABELS[turn.code],
                speaker=turn.name[:5] + turn.gender,
                gender=GENDERS[turn.gender],
                start=None if whole else turn.start,
                end=None if whole else turn.end,
                text=words.get(turn.name),
            )
    return collector.report(missing)


def _turns(root: Path) -> Iterator[_Turn]:
    for path in sorted(root.rglob("dialog/EmoEvaluation/Ses*.txt")):
        for start, end, name, gender, code in EVALUATION.findall(decode_text(path, ("utf-8", "latin-1"))):
            session = f"Session{int(name[3:5])}"
            yield _Turn(name, session, name.rpartition("_")[0], float(start), float(end), gender, code)


def _words(root: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(root.rglob("dialog/transcriptions/Ses*.txt")):
        for name, text in TRANSCRIPT.findall(decode_text(path, ("utf-8", "latin-1"))):
            yield name, text.strip()
