"""espeak-ng's English as ARPAbet."""

import pytest

from earshot_asr.engine.training.data.pronounce import arpabet, available, pronounce


@pytest.mark.parametrize(
    ("ipa", "phones"),
    [
        ("nˈaɪt", "N AY T"),
        ("tʃˈɜːtʃ", "CH ER CH"),
        ("ˈɪɹɹi", "IH R R IY"),
        ("dʒˈʌdʒ\n", "JH AH JH"),
        ("bˈɒtəl ", "B T AH L"),  # what is unknown is left away
        ("", ""),
    ],
)
def test_the_longest_match_counts(ipa: str, phones: str) -> None:
    assert " ".join(arpabet(ipa)) == phones


@pytest.mark.skipif(not available(), reason="needs the program espeak-ng")
def test_words_that_no_dictionary_has() -> None:
    assert pronounce("earshotter") == tuple(["IH", "R", "SH", "AA", "T", "ER"])
    assert pronounce("-x")  # no option
    assert pronounce("42")[0] == "F"
    assert pronounce("") == ()
