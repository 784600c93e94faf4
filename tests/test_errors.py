"""Sentences for users."""

from genser.errors import each_once


def test_a_sentence_is_said_once():
    said = []
    one, other = each_once(said.append), each_once(said.append)
    for say, sentence in ((one, "a"), (one, "b"), (one, "a"), (other, "a")):
        say(sentence)
    assert said == ["a", "b", "a"]
