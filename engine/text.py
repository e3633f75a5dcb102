"""The one text normalizer, used wherever texts are compared."""

import unicodedata


def normalize(text: str) -> str:
    """Upper case, without punctuation, single spaces: what a CTC model could write.

    Letters, their marks, and digits of any script stay; so do apostrophes inside or at the edge of a word. Everything
    else separates words, hyphens too.
    """
    text = unicodedata.normalize("NFC", text.replace("’", "'").upper())
    kept = (char if unicodedata.category(char)[0] in "LMN" or char == "'" else " " for char in text)
    return " ".join(word for word in "".join(kept).split() if word.strip("'"))
