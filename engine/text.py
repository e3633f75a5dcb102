"""The text normalizer, used wherever texts are compared."""

import unicodedata


def normalize(text: str) -> str:
    """Upper case, no punctuation, single spaces.

    Keeps letters, combining marks and digits of any script, and apostrophes inside or at the edge of a word. All other
    characters, hyphens too, separate words.
    """
    text = unicodedata.normalize("NFC", text.replace("’", "'").upper())
    kept = (char if unicodedata.category(char)[0] in "LMN" or char == "'" else " " for char in text)
    return " ".join(word for word in "".join(kept).split() if word.strip("'"))
