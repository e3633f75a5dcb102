"""Languages by any of their names, and never another one."""

import pytest

from earshot_asr.engine.errors import MESSAGE_CHARACTERS, ConfigError
from earshot_asr.engine.languages import code, match, name

MMS = ["eng", "fra", "deu", "cmn", "uzb-script_cyrillic", "uzb-script_latin", "nob", "skr", "por"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("fra", "fra"),
        ("fr", "fra"),
        ("fre", "fra"),
        ("FR", "fra"),
        ("French", "fra"),
        ("french", "fra"),
        ("fr-CA", "fra"),
        ("pt_BR", "por"),
        ("zh", "cmn"),
        ("no", "nob"),
        ("uzb-script_latin", "uzb-script_latin"),
        ("UZB-script_latin", "uzb-script_latin"),
    ],
)
def test_a_language_by_any_of_its_names(asked: str, found: str) -> None:
    assert match(asked, MMS, "the model") == found


def test_a_language_of_a_macrolanguage() -> None:
    assert match("cmn", ["zh", "en"], "the model") == "zh"
    assert match("ms", ["zlm", "en"], "the model") == "zlm"


@pytest.mark.parametrize(
    ("asked", "there"), [("yue", "zh"), ("zh", "yue"), ("nno", "no"), ("arz", "ar"), ("ar", "arz")]
)
def test_a_sister_is_another_language(asked: str, there: str) -> None:
    with pytest.raises(ConfigError, match=f"the model has no language '{asked}'"):
        match(asked, [there, "en"], "the model")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("fra1", r"the model has no language 'fra1'; near are fra \(French\)"),
        ("frnech", r"near are fra \(French\)"),
        ("nl", r"the model has no language 'nl'; (near are|it has) "),
        ("uz", r"several of the model: uzb-script_cyrillic .*, uzb-script_latin .*; name one"),
        ("", r"no language ''; it has cmn \(Mandarin Chinese\), .* and 3 more"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is_near(asked: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        match(asked, MMS, "the model")


def test_what_is_said_of_many_languages_is_short() -> None:
    uzbek = [f"uzb-script_{number}" for number in range(99)]
    odd = [f"{number}{'x' * 98}" for number in range(9)]
    for asked, among, said in (("uz", uzbek, "several of"), ("zh", odd, "it has"), (odd[0][:-1], odd, "near are")):
        with pytest.raises(ConfigError, match=rf"{said} .* and \d+ more") as error:
            match(asked, among, "facebook/mms-1b-all")
        assert len(str(error.value)) <= MESSAGE_CHARACTERS


def test_codes_and_names() -> None:
    assert (code("de-AT"), code("nonsense"), code("")) == ("deu", "", "")
    assert (name("de"), name("x-y")) == ("German", "x-y")
