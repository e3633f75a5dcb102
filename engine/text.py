"""The text normalizer, used wherever texts are compared; and text from outside made safe to print."""

import codecs
import json
import unicodedata

ESCAPES = "earshot.escapes"
"""An error handler of encodings: what they lack is written as JSON has it, \\u0142. So nothing is lost, and what was
JSON still is, with the same strings: also with a file name that is no text."""


def normalize(text: str) -> str:
    """Upper case, no punctuation, single spaces.

    Keeps letters, combining marks and digits of any script, and apostrophes inside or at the edge of a word. All other
    characters, hyphens too, separate words.
    """
    text = unicodedata.normalize("NFC", text.replace("’", "'").upper())
    kept = (char if unicodedata.category(char)[0] in "LMN" or char == "'" else " " for char in text)
    return " ".join(word for word in "".join(kept).split() if word.strip("'"))


def printable(text: str, most: int | None = None) -> str:
    """Replaces control characters by spaces, so that text from outside can't control a terminal or a log.

    most: longer text is cut off after as many characters
    """
    kept = text if most is None or len(text) <= most else f"{text[:most]}..."
    return "".join(char if char.isprintable() else " " for char in kept)


def escaped(text: str) -> str:
    """The text in ASCII, as JSON has it between quotes."""
    return json.dumps(text)[1:-1]


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return escaped(error.object[error.start : error.end]), error.end


codecs.register_error(ESCAPES, _escape)
