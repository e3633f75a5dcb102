"""The text normalizer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.text import normalize, printable


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Printing, in the only sense—with which", "PRINTING IN THE ONLY SENSE WITH WHICH"),
        ("I don’t know 'bout that!", "I DON'T KNOW 'BOUT THAT"),
        ("well-known  ' quotes '", "WELL KNOWN QUOTES"),
        ("naïve façade, 42%", "NAÏVE FAÇADE 42"),
        ("ça e\u0301te\u0301", "ÇA ÉTÉ"),
        ("हिन्दी में", "हिन्दी में"),
        ("", ""),
    ],
)
def test_normal_forms(text: str, normal: str) -> None:
    assert normalize(text) == normal


@given(st.text())
def test_normal_text_is_left_alone(text: str) -> None:
    normal = normalize(text)
    assert normalize(normal) == normal
    assert normal == " ".join(normal.split())


def test_printable_text_can_not_control_a_terminal() -> None:
    assert printable("a\x1b[2Jb\nc\x9b0m\u202ed é") == "a [2Jb c 0m d é"
    assert printable("x" * 12, 10) == "x" * 10 + "..."
