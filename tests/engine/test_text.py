"""The text normalizer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.text import normalize


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
