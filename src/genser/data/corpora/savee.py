"""SAVEE, English emotional speech: 480 clips of four men (Haq and Jackson, 2009).

Clips are named ``SPEAKER_emotionNN``, or ``emotionNN`` in one folder for each speaker.
"""

from collections.abc import Collection

from genser.data.corpora.clip_names import ClipNames
from genser.data.corpora.report import absent, genders

NAME = "savee"
LAYOUT = "DC_a01.wav or AudioData/DC/a01.wav"
LABELS = {
    "a": "anger",
    "d": "disgust",
    "f": "fear",
    "h": "happiness",
    "n": "neutral",
    "sa": "sadness",
    "su": "surprise",
}
GENDERS = genders(male="DC JE JK KL")


def _missing(found: Collection[str]) -> list[str]:
    takes = {emotion: 30 if emotion == "n" else 15 for emotion in LABELS}
    clips = [f"{emotion}{take:02d}" for emotion in LABELS for take in range(1, takes[emotion] + 1)]
    return absent({f"speaker {speaker}": [f"{speaker}_{clip}" for clip in clips] for speaker in GENDERS}, found)


read = ClipNames(
    NAME,
    LAYOUT,
    pattern=r"(?P<speaker>[A-Z]{2})[_/](?P<label>[a-z]+)(?P<_take>0[1-9]|1[0-5]|(?<=n)(?:1[6-9]|2\d|30))",
    codes={"label": LABELS},
    speakers=GENDERS,
    language="en",
    clip="{speaker}_{label}{_take}",
    missing=_missing,
).read
