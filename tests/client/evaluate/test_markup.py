"""Whatever is put in comes out as text again, and as nothing else."""

import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.client.evaluate.markup import Markup, element, join
from earshot_asr.engine.text import printable


@given(st.text(), st.text())
def test_text_stays_text(child: str, value: str) -> None:
    parsed = ET.fromstring(element("p", child, title=value))
    assert (parsed.text or "", parsed.get("title"), len(parsed)) == (printable(child), printable(value), 0)


def test_markup_is_put_in_as_it_is() -> None:
    assert element("p", element("b", "<"), " & ") == "<p><b>&lt;</b> &amp; </p>"
    assert join("<", Markup("<br>"), None) == "&lt;<br>"


def test_names_and_numbers_of_attributes() -> None:
    assert element("text", class_="x", text_anchor="end", x=1.23456, y=2.0, title=None) == (
        '<text class="x" text-anchor="end" x="1.23" y="2"></text>'
    )


def test_it_can_always_be_written() -> None:
    element("p", "\ud800\x00\u202e").encode()
