"""Words of scripts that are written without spaces: Chinese, Japanese, Thai, Lao, Khmer, Burmese and their kin.

There, one character counts as a word, with its marks: so that it has a time and a confidence, and a line may end
after it. What can't begin a line (a closing mark, a small kana) belongs to the character before it.
"""

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

IDEOGRAPHIC = (
    (0x2E80, 0x2FDF), (0x3001, 0x301F), (0x3021, 0x3029), (0x3041, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF01, 0xFF0F), (0xFF1A, 0xFF20), (0xFF3B, 0xFF40), (0xFF5B, 0xFF9F),
    (0x1AFF0, 0x1B16F), (0x20000, 0x3FFFF),
)  # fmt: skip
"""Code points, first and last, of Han, Hiragana, Katakana, and their punctuation."""
SYLLABIC = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x1950, 0x19DF), (0x1A20, 0x1AAF), (0xA9E0, 0xA9FF),
    (0xAA60, 0xAADF),
)  # fmt: skip
"""Those of Thai, Lao, Burmese, Khmer, and of the Tai scripts: where Unicode needs a dictionary to break a line."""
SMALL_KANA = frozenset("ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶ" + "".join(map(chr, range(0x31F0, 0x3200))))
SPACING_VOWELS = frozenset("\u0e30\u0e32\u0e33\u0e45\u0eb0\u0eb2\u0eb3")
"""Vowels of Thai and Lao that stand behind their consonant, and which Unicode counts as letters."""
BINDING = frozenset("\u0e40\u0e41\u0e42\u0e43\u0e44\u0ec0\u0ec1\u0ec2\u0ec3\u0ec4\u17d2\u1039")
"""Vowels of Thai and Lao that stand before their consonant, and the signs of Khmer and Burmese that stack the next."""
CLINGING = ("M", "Lm", "Cf", "Pe", "Pf", "Po")
"""Unicode's categories of what belongs to the character before: marks, modifiers, closing and other punctuation."""
OPENING = ("Ps", "Pi")

_RANGES = sorted((*IDEOGRAPHIC, *SYLLABIC))
_FIRSTS = [first for first, _ in _RANGES]


def spaceless(char: str) -> bool:
    """Whether a character is of a script that is written without spaces."""
    at = bisect_right(_FIRSTS, ord(char)) - 1
    return at >= 0 and ord(char) <= _RANGES[at][1]


def clings(before: str, after: str) -> bool:
    """Whether the character `after` belongs to the same word as the one before it in any script."""
    if after in SMALL_KANA or after in SPACING_VOWELS or before in BINDING:
        return True
    return unicodedata.category(after).startswith(CLINGING) or unicodedata.category(before) in OPENING


@lru_cache(maxsize=1 << 14)
def breaks(before: str, after: str) -> bool:
    """Whether a word begins at the character `after`, with no space between it and the one before."""
    return (spaceless(before) or spaceless(after)) and not clings(before, after)


def split(text: str) -> list[str]:
    """The words of a text: at spaces, and where characters of a spaceless script meet others."""
    words: list[str] = []
    for part in text.split():
        edges = [0, *(i for i, (a, b) in enumerate(pairwise(part), 1) if breaks(a, b)), len(part)]
        words += [part[a:b] for a, b in pairwise(edges)]
    return words


def join(texts: Iterable[str]) -> str:
    """Utterances as one text: a space between two, but none between two of Chinese or Japanese."""
    joined = ""
    for text in filter(None, texts):
        space = "" if not joined or (_ideographic(joined[-1]) and _ideographic(text[0])) else " "
        joined += space + text
    return joined


def _ideographic(char: str) -> bool:
    return any(first <= ord(char) <= last for first, last in IDEOGRAPHIC)
