"""The question that prompted systems are asked, and the rule that reads a class from their free answers."""

import re
from collections.abc import Sequence

from genser.peers.mapping import ClassMapping
from genser.peers.peer import Answer

QUESTIONS = {
    "emotion": "Which emotion does the speaker express? Judge the voice and the words.",
    "gender": "Is the speaker female or male? Judge the voice.",
}
SHORT_WORDS = ("joy", "sad", "man")
"""Words of up to three letters that count inside a sentence; others, such as "sur", mean other things there."""


def prompt_for(task: str, classes: Sequence[str]) -> str:
    """The question, with the classes of the corpus as the possible answers."""
    return f"{QUESTIONS[task]} Answer with exactly one of these words and nothing else: {', '.join(classes)}."


def read_answer(text: str, classes: Sequence[str]) -> Answer:
    """Read the class that a free answer names.

    The rule: if the whole answer is a class or a usual name of one, that is the class. Else its words are looked up,
    and if all that name a class name the same one, that is the class. An answer that names none, or several, has no
    class; it counts as wrong and is counted as unread.

    Args:
        text: The answer.
        classes: Classes of the corpus.
    """
    words = [word for word in re.findall(r"[^\W\d_]+", text) if len(word) > 3 or word.lower() in SHORT_WORDS]
    for parts in ([re.sub(r"[^\w ]+", "", text).strip()], words):
        targets = ClassMapping.of(parts, classes).targets.values()
        found = {target for target in targets if target is not None}
        if len(found) == 1:
            return Answer({found.pop(): 1.0}, text)
    return Answer(text=text)
