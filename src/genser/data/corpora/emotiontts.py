"""emotiontts_open_db, Korean emotional speech of 15 actors (KAIST and Selvas AI, 2019).

The parts of a name are speaker and number: 1 to 100 are neutral, 101 to 200 happy, 201 to 300 angry, 301 to 400 sad.
The public part has the first five of each hundred. In ``emotional-to-emotional`` the words fit the emotion; in
``plain-to-emotional`` they are plain, so that only the voice says it. Names, speakers and genders: README of
``Emotional`` (github.com/emotiontts/emotiontts_open_db).
"""

import re
from pathlib import Path

from genser.data.corpora.report import Collector, CorpusReport, genders, sound_files

NAME = "emotiontts"
LAYOUT = "plain-to-emotional/ema/wav/ema00101.wav beside plain-to-emotional/ema/script/ema00101.txt"
LABELS = {0: "neutral", 1: "happiness", 2: "anger", 3: "sadness"}
GENDERS = genders(female="ema emb nea neb nec ned nee", male="emf emg emh nek nel nem nen neo")
PATTERN = re.compile(r"([a-z]{3})(\d{5})")


def read(root: Path) -> CorpusReport:
    """Read the clips ``SPEAKERNUMBER``, with the words of the folder ``script`` where it exists."""
    collector = Collector(root, NAME, "ko")
    scripts = {path.stem: path for path in root.rglob("*.txt") if path.parent.name == "script"}
    for path in sound_files(root):
        match = PATTERN.fullmatch(path.stem)
        label = LABELS.get((int(match[2]) - 1) // 100) if match else None
        if match is None or label is None or match[1] not in GENDERS:
            collector.problem(path, "is not named SPEAKERNUMBER, such as ema00101")
            continue
        words = collector.words(scripts[path.stem]) if path.stem in scripts else None
        collector.add(path.stem, path, label=label, speaker=match[1], gender=GENDERS[match[1]], text=words)
    return collector.report()
