"""Builds HTML and SVG. Text that is not Markup already is escaped when it is inserted."""

from html import escape

from earshot_asr.engine.text import printable


class Markup(str):
    """Text that is HTML or SVG and is inserted as it is."""

    __slots__ = ()


def element(tag: str, *children: str | float | None, **attributes: str | float | None) -> Markup:
    """`<tag attributes>children</tag>`, without those that are None.

    A trailing underscore of an attribute's name is removed, others become hyphens: `class_`, `text_anchor`.
    """
    given = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value is not None}
    opening = "".join(f' {name}="{_text(value)}"' for name, value in given.items())
    return Markup(f"<{tag}{opening}>{''.join(map(_text, children))}</{tag}>")


def join(*parts: str | float | None) -> Markup:
    """Concatenates markup and text."""
    return Markup("".join(map(_text, parts)))


def _text(child: str | float | None) -> str:
    match child:
        case None:
            return ""
        case Markup():
            return child
        case str():
            return escape(printable(child))
    return f"{child:.2f}".rstrip("0").rstrip(".") if isinstance(child, float) else str(child)
