"""Makes damaged and hostile inputs from good ones; a number determines each."""

import random
from collections.abc import Sequence

EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
NUMBERS = "nan inf -inf 1e309 -1 0 -0.0 1e-320 99999999999999999999 1_0 0x10 ١٢ ½ ² true null None ~ NaN Infinity"
LETTERS = ("\0", "\ufeff", "\ud7ff", "\u202e", "é", "e\u0301", "𝄞", "\x1a", "\x0c", "\x85", "\u2028", "\r", "\n", "\t")
MARKS = ', ; | : = \' " "" { } [ ] ( ) < > & # % * ! @ / \\ .. - --> // \\x00 %00 %ff ${HOME} {{0}} \r\n'
NAMES = "path file label start end duration speaker 00:00:01,5 days NaT &a *a !!python/object <<: - ?"
TAGS = "!!int !!float !!bool !!timestamp !!binary !!set"
LONG = ("[" * 300, "[" * 3000, "{" * 300, '{"a":' * 300, "a" * 5000, "9" * 5000, "\xff" * 40)
WORDS = (*NUMBERS.split(), *LETTERS, *MARKS.split(" "), *NAMES.split(), *TAGS.split(), *LONG)


def mutant(seeds: Sequence[bytes], number: int, *, text: bool) -> bytes:
    """The damaged copy of one of the seeds that belongs to a number; number 0 and the next ones are the seeds."""
    if number < len(seeds):
        return seeds[number]
    rng = random.Random(number)
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        rng.choice(_TEXT if text else _BINARY)(data, rng, seeds)
    return bytes(data)


def _place(data: bytearray, rng: random.Random) -> int:
    """A position, half of the time in the header."""
    return rng.randrange(min(len(data), 256) if rng.random() < 0.5 else len(data)) if data else 0


def _span(data: bytearray, rng: random.Random) -> slice:
    start = _place(data, rng)
    return slice(start, start + 1 + min(int(rng.expovariate(0.05)), len(data)))


def _flip(data: bytearray, rng: random.Random, _seeds: Sequence[bytes]) -> None:
    if data:
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _byte(data: bytearray, rng: random.Random, _seeds: Sequence[bytes]) -> None:
    if data:
        data[_place(data, rng)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _number(data: bytearray, rng: random.Random, _seeds: Sequence[bytes]) -> None:
    size, start = rng.choice((2, 4, 8)), _place(data, rng)
    value = rng.choice((*EDGES, rng.getrandbits(8 * size), len(data))) & (256**size - 1)
    data[start : start + size] = value.to_bytes(size, rng.choice(("little", "big")))


def _cut(data: bytearray, rng: random.Random, _seeds: Sequence[bytes]) -> None:
    del data[_span(data, rng)]


def _end(data: bytearray, rng: random.Random, _seeds: Sequence[bytes]) -> None:
    del data[_place(data, rng) :]


def _repeat(data: bytearray, rng: random.Random, _seeds: Sequence[bytes]) -> None:
    part = data[_span(data, rng)]
    start = _place(data, rng)
    data[start:start] = part * rng.choice((1, 2, 50))


def _splice(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    other = bytearray(rng.choice(seeds))
    data[_span(data, rng)] = other[_span(other, rng)]


def _word(data: bytearray, rng: random.Random, _seeds: Sequence[bytes]) -> None:
    start = _place(data, rng)
    end = start + rng.choice((0, 0, 1, 4))
    data[start:end] = rng.choice(WORDS).encode("utf-8", "surrogatepass")


def _line(data: bytearray, rng: random.Random, _seeds: Sequence[bytes]) -> None:
    """Move, repeat or drop a line."""
    lines = bytes(data).split(b"\n")
    line = lines.pop(rng.randrange(len(lines)))
    for _ in range(rng.choice((0, 1, 2))):
        lines.insert(rng.randrange(len(lines) + 1), line)
    data[:] = b"\n".join(lines)


_BINARY = (_flip, _byte, _number, _number, _cut, _end, _repeat, _splice)
_TEXT = (_flip, _byte, _cut, _end, _repeat, _splice, _word, _word, _word, _line)
