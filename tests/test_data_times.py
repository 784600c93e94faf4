"""Times in all usual notations become seconds; what may be misread is refused."""

from datetime import time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genser.data.times import duration_text, seconds
from genser.errors import ManifestError


@pytest.mark.parametrize(
    "text",
    [
        *("3661.5", "3661,5", " 3661.50 ", "3.6615e3", "3661.5s", "3661.5 sec", "3661500ms", "3661500 ms", "1h1m1.5s"),
        *(
            "1 h 1 min 1,5 s",
            "01:01:01.5",
            "1:01:01,500",
            "61:01.5",
            "0 days 01:01:01.500000",
            "61:01,5",
        ),
        *("PT1H1M1.5S", "P0DT1H1M1.5S", "pt3661.5s", "3,661.5", "3.661,5", "3 661,5", "3'661.5"),
    ],
)
def test_one_time_in_many_notations(text):
    assert seconds(text) == 3661.5


@pytest.mark.parametrize("value", [None, "", "  ", "nan", "NaN", "NaT", "None", "<NA>", "n/a", float("nan")])
def test_no_time_is_none(value):
    assert seconds(value) is None


@pytest.mark.parametrize("value", [3661.5, timedelta(seconds=3661.5), time(1, 1, 1, 500_000)])
def test_values_that_are_times(value):
    assert seconds(value) == 3661.5


@pytest.mark.parametrize(
    "value",
    [
        *(
            "one",
            "1:75",
            "1:75:00",
            "00:00:01:12",
            "1.5.2",
            "1_000",
            "inf",
            "1,2,3",
            "1,234,567",
            "p",
            "pt",
            "٣",
            "0x1",
        ),
        *(True, [1], 10**400, b"1"),
    ],
)
def test_what_is_no_time_is_refused(value):
    with pytest.raises(ManifestError, match=r"not a time|too large"):
        seconds(value)


@pytest.mark.parametrize("text", ["{}:00:00", "{} days 00:00:00", "{}:00"])
def test_thousands_of_digits_are_no_time(text):
    with pytest.raises(ManifestError, match="not a time"):
        seconds(text.format("9" * 5000))


def test_a_decimal_comma_is_not_confused_with_thousands():
    with pytest.raises(ManifestError, match=r"1\.234 or 1234"):
        seconds("1,234")
    assert seconds("1,234", decimal_comma=True) == 1.234
    assert seconds("0,234") == 0.234
    assert seconds("12,3456") == 12.3456


@given(value=st.floats(0, 1e6))
def test_every_number_is_read_exactly(value):
    assert seconds(str(value)) == seconds(value) == value
    assert seconds(str(value).replace(".", ","), decimal_comma=True) == value


@given(value=st.integers(0, 10**9))
def test_every_timedelta_is_read_exactly(value):
    delta = timedelta(milliseconds=value)
    assert seconds(str(delta)) == pytest.approx(delta.total_seconds())


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        *((0.0, "0 ms"), (0.00325, "3.25 ms"), (0.9994, "999 ms"), (0.9996, "1 s"), (1.5, "1.5 s"), (99.96, "100 s")),
        *((119.4, "119 s"), (119.6, "1.99 min"), (5400.0, "90 min"), (9000.0, "2.5 h"), (4e6, "1110 h")),
    ],
)
def test_a_duration_is_printed_in_a_readable_unit(duration, text):
    assert duration_text(duration) == text


@given(st.floats(1e-6, 1e8))
def test_a_printed_duration_is_read_as_the_same_time(duration):
    assert seconds(duration_text(duration)) == pytest.approx(duration, rel=0.006)
