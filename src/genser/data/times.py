"""Times as people and programs write them, in seconds; and durations for people to read."""

import math
import re
from datetime import time, timedelta
from typing import Any

from genser.errors import ManifestError

EMPTY = frozenset(("", "nan", "nat", "none", "null", "na", "n/a", "<na>"))
"""Words for a time that is not given, in lower case; pandas, R and JSON write them."""

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.ASCII)
GROUPED = re.compile(r"[+-]?\d{1,3}(?:([,.' ])\d{3})(?:\1\d{3})*[,.]\d+", re.ASCII)
COMMA = re.compile(r"([+-]?\d*),(\d+(?:e[+-]?\d+)?)", re.ASCII)
CLOCK = re.compile(
    r"(?:(\d{1,9}) ?days?,? ?)?\+?(?:(?:(\d{1,9}):)?(\d{1,3}):(\d{1,2})(?:[.,](\d+))?)", re.ASCII
)  # 0 days 00:00:01.5, 1 day, 0:00:01, 00:00:01,500, 01:02.5
PARTS = re.compile(
    r"(?:(\d+) ?d(?:ays?)?)? ?"
    r"(?:(\d+(?:[.,]\d+)?) ?h(?:ours?|rs?)?)? ?"
    r"(?:(\d+(?:[.,]\d+)?) ?m(?:in(?:utes?|s)?)?)? ?"
    r"(?:(\d+(?:[.,]\d+)?) ?s(?:ec(?:onds?|s)?)?)?",
    re.ASCII,
)  # 1h2m3.5s, 1.5 s
UNITS = (86400, 3600, 60, 1)
ISO = re.compile(r"p(?:(\d+)d)?(?:t(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:[.,]\d+)?)s)?)?", re.ASCII)  # PT1M2.5S
MILLISECONDS = re.compile(r"(\d+(?:[.,]\d+)?) ?m(?:illi)?s(?:ec(?:onds?|s)?)?", re.ASCII)  # 1500ms
READABLE = (("ms", 0.001, 1.0), ("s", 1.0, 120.0), ("min", 60.0, 7200.0))
"""Units in which durations are printed: name, seconds, and the duration from which on a larger unit is used."""


def seconds(value: Any, *, decimal_comma: bool = False) -> float | None:
    """A time in seconds.

    Understood are numbers (seconds), ``1.5s``, ``1500ms``, ``1h2m3.5s``, ``MM:SS.s``, ``HH:MM:SS.s``, ``00:00:01,500``,
    ``0 days 00:00:01.5`` (pandas), ``PT1.5S`` (ISO 8601) and timedeltas.

    A single comma is a decimal comma. Only a text such as ``1,234`` could also be one thousand; it is refused unless
    the table writes decimal commas. If both separators occur, the last is the decimal one.

    Args:
        value: Number, text or timedelta; None, NaN and empty words such as ``NaT`` mean that there is no time.
        decimal_comma: Whether ``1,234`` has a decimal comma, as in tables with semicolons.

    Raises:
        ManifestError: The value is no time, or an ambiguous one.
    """
    if value is None:
        return None
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, time):
        return value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return None if math.isnan(value) else float(value)
        except OverflowError as error:
            raise ManifestError(f"{value!r} is too large for a time in seconds.") from error
    if not isinstance(value, str):
        raise ManifestError(f"{value!r} is not a time in seconds, such as 1.5.")
    text = " ".join(value.split()).lower()
    if text in EMPTY:
        return None
    found = _number(text, decimal_comma)
    found = _clock(text) if found is None else found
    if found is None:
        raise ManifestError(f"{value!r} is not a time in seconds, such as 1.5.")
    return found


def duration_text(duration: float) -> str:
    """A duration in seconds as text of three digits, such as ``3.25 ms``, ``1.5 s``, ``20 min`` and ``2.5 h``."""
    for unit, size, end in READABLE:
        count = float(f"{duration / size:.3g}")
        if count * size < end:
            return f"{count:g} {unit}"
    return f"{float(f'{duration / 3600:.3g}'):g} h"


def _number(text: str, decimal_comma: bool) -> float | None:
    if NUMBER.fullmatch(text):
        return float(text)
    if match := COMMA.fullmatch(text):
        whole, fraction = match.groups()
        could_be_thousands = len(fraction) == 3 and re.fullmatch(r"[+-]?[1-9]\d{0,2}", whole)
        if could_be_thousands and not decimal_comma:
            raise ManifestError(f"{text!r} may be {whole}.{fraction} or {whole}{fraction}. Write it with a point.")
        return float(f"{whole or '0'}.{fraction}")
    if match := GROUPED.fullmatch(text):
        mark = "," if text.rfind(",") > text.rfind(".") else "."
        if mark != match[1]:
            whole, _, fraction = text.rpartition(mark)
            return float(f"{whole.replace(match[1], '')}.{fraction}")
    return None


def _clock(text: str) -> float | None:
    if match := CLOCK.fullmatch(text):
        days, hours, minutes, last, fraction = match.groups()
        if int(last) >= 60 or (hours is not None and int(minutes) >= 60):
            return None
        whole = (int(days or 0) * 24 + int(hours or 0)) * 3600 + int(minutes) * 60 + int(last)
        return float(f"{whole}.{fraction or 0}")
    if match := MILLISECONDS.fullmatch(text):
        return _plain(match[1]) / 1000
    match = PARTS.fullmatch(text) or ISO.fullmatch(text)
    if match and any(match.groups()):
        return sum(_plain(part) * unit for part, unit in zip(match.groups(), UNITS, strict=True) if part)
    return None


def _plain(text: str) -> float:
    return float(text.replace(",", "."))
