"""The pace of live audio tells its rate."""

import pytest

from earshot_asr.server.pace import STEADY_SECONDS, Pace


def heard(pace: Pace, *samples: int) -> list[int]:
    found = []
    for count in samples:
        pace.feed(count)
        if (rate := pace.tick()) is not None:
            found.append(rate)
    return found


@pytest.mark.parametrize(
    ("declared", "comes", "rate"),
    [
        (16_000, 8000, 8000),
        (16_000, 48_000, 48_000),
        (16_000, 44_100, 44_100),
        (48_000, 44_100, 44_100),
        (44_100, 48_000, 48_000),
        (16_000, 16_000, None),
        (16_000, 16_100, None),
        (16_000, 32_000, None),
        (16_000, 64_000, None),
        (8000, 16_000, None),
        (16_000, 13_000, None),
        (16_000, 0, None),
    ],
)
def test_a_steady_pace(declared: int, comes: int, rate: int | None) -> None:
    seconds = [comes + (-1) ** n * comes // 50 for n in range(3 * STEADY_SECONDS)]
    assert heard(Pace(declared), *seconds) == ([] if rate is None else [rate])


def test_what_is_not_steady_says_nothing() -> None:
    assert heard(Pace(16_000), *[16_000, 0] * 20) == []
    pace = Pace(16_000)
    for _ in range(40):
        pace.feed(8000)
        pace.pause() if _ % 8 == 0 else pace.tick()
    assert heard(pace, 8000) == []
