"""Words of scripts without spaces: where they begin, and how utterances are joined."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.scripts import (
    BINDING,
    IDEOGRAPHIC,
    SMALL_KANA,
    SPACING_VOWELS,
    SYLLABIC,
    join,
    spaceless,
    split,
)

WORDS = {
    "English": "it's a test, isn't it?",
    "Korean": "오늘 날씨가 좋다",
    "Hindi": "नमस्ते दुनिया",
}


@pytest.mark.parametrize("language", WORDS)
def test_scripts_with_spaces_are_split_at_spaces(language: str) -> None:
    assert split(WORDS[language]) == WORDS[language].split()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("你好，世界。", "你 好， 世 界。"),
        ("他说：「好」", "他 说： 「好」"),
        ("我用iPhone 15拍照", "我 用 iPhone 15 拍 照"),
        ("きょうはラーメン", "きょ う は ラー メ ン"),
        ("学校がっこう々", "学 校 がっ こ う々"),
        ("か\u3099く", "か\u3099 く"),
        ("ที่นี่เมือง", "ที่ นี่ เมื อ ง"),
        ("น้ำ", "น้ำ"),
        ("ເປັນ", "ເປັ ນ"),
        ("ខ្មែរ", "ខ្មែ រ"),
        ("မြန်မာ", "မြ န် မာ"),
        ("ဗုဒ္ဓ", "ဗု ဒ္ဓ"),
    ],
)
def test_a_character_with_its_marks_is_a_word(text: str, words: str) -> None:
    assert split(text) == words.split()


@given(st.text(st.sampled_from("你の่กเ。「a1 '\u3099၊")))
def test_no_character_is_lost(text: str) -> None:
    assert "".join(split(text)) == "".join(text.split())


@pytest.mark.parametrize(
    ("texts", "joined"),
    [
        (["hello", "", "world"], "hello world"),
        (["你好。", "世界"], "你好。世界"),
        (["你好", "iPhone"], "你好 iPhone"),
        (["カメラ", "です"], "カメラです"),
        (["สวัสดี", "ครับ"], "สวัสดี ครับ"),
        (["오늘", "날씨"], "오늘 날씨"),
        ([], ""),
    ],
)
def test_between_utterances_of_chinese_and_japanese_there_is_no_space(texts: list[str], joined: str) -> None:
    assert join(texts) == joined


def test_what_is_written_without_spaces_is_known() -> None:
    assert all(a[1] < b[0] for a, b in pairwise(sorted((*IDEOGRAPHIC, *SYLLABIC))))
    assert all(map(spaceless, "语語のノｶไລກမខ。、「𠀀" + "".join(SMALL_KANA | SPACING_VOWELS | BINDING)))
    assert not any(map(spaceless, "aяعह한aＡ１ '1.\u0dff\u0f00"))
