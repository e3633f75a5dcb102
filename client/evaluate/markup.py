"""HTML and SVG that can't be broken out of: whatever is not markup already is escaped where it is put in."""

from html import escape

from earshot_asr.client.terminal import printable


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def element(tag: str, *children: str | float | None, **attributes: str | float | None) -> Markup:
    """`<tag attributes>children</tag>`. None is left out; `class_` is `class`, `text_anchor` is `text-anchor`."""
    given = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value is not None}
    opening = "".join(f' {name}="{_text(value)}"' for name, value in given.items())
    return Markup(f"<{tag}{opening}>{''.join(map(_text, children))}</{tag}>")


def join(*parts: str | float | None) -> Markup:
    """One after the other."""
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
