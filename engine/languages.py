"""Names of languages: "de", "deu", "German" and "de-AT" are the same one. ISO 639, by the package iso639-lang."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from functools import lru_cache

from iso639 import Lang
from iso639.exceptions import InvalidLanguageValue

from earshot_asr.engine.errors import ConfigError, listed, shown

MEANT = {
    "arb": "ara",
    "azj": "aze",
    "cmn": "zho",
    "ekk": "est",
    "khk": "mon",
    "lvs": "lav",
    "nob": "nor",
    "npi": "nep",
    "ory": "ori",
    "pes": "fas",
    "swh": "swa",
    "uzn": "uzb",
    "zlm": "msa",
    "zsm": "msa",
}
"""Languages that one means by the name of a macrolanguage, by ISO 639-3: Mandarin by Chinese, but never Cantonese."""
MOST_NEAR = 5
"""Languages that an error names for one that is not there."""
KEPT_NAMES = 1 << 14
"""Names whose code is remembered: clients may ask for anything."""
LISTED_CHARACTERS = 120
"""Of the languages in an error: a model may have a thousand."""
LIKENESS = 0.55
"""From 0 to 1: how alike two names must be for one to be offered for the other."""


def match(asked: str, among: Collection[str], owner: str) -> str:
    """The one of `among` that is the language `asked`, in whatever way it is named there.

    among    names as a checkpoint or a catalogue has them: "fra", "de", "uzb-script_latin"
    owner    who has them, for the error's sentence: "facebook/mms-1b-all"

    A macrolanguage and the language that one means by its name stand for each other ("zh" and "cmn"). Never another
    language: raises ConfigError that names those that are near.
    """
    asked = asked.strip()
    found = matches(asked, among)
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"language {shown(asked)} is several of {owner}: {_listed(sorted(found))}; name one of them")
    near = nearest(asked, among)
    offer = f"near are {_listed(near)}" if near else f"it has {_listed(sorted(among))}"
    raise ConfigError(f"{owner} has no language {shown(asked)}; {offer}")


def matches(asked: str, among: Collection[str]) -> list[str]:
    """Those of `among` that are the language `asked`, in whatever way it is named there; see match."""
    asked = asked.strip()
    if asked in among:
        return [asked]
    wanted = code(asked)
    found = [each for each in among if each.lower() == asked.lower()] or [
        each for each in among if wanted and code(each) == wanted
    ]
    found = found or [each for each in among if wanted and MEANT.get(code(each)) == wanted]
    return found or [each for each in among if code(each) and code(each) == MEANT.get(wanted)]


@lru_cache(maxsize=KEPT_NAMES)
def code(language: str) -> str:
    """The ISO 639-3 code of a language by any of its names: "deu" of "de-AT"; empty if there is no such language."""
    language = language.strip()
    for name in (language, language.title(), language.replace("_", "-").partition("-")[0].lower()):
        try:
            return str(Lang(name).pt3)
        except InvalidLanguageValue:
            continue
    return ""


def name(language: str) -> str:
    """The English name of a language: "German" of "de"; as it is if there is none."""
    known = code(language)
    return str(Lang(known).name) if known else language


def nearest(asked: str, among: Iterable[str]) -> list[str]:
    """Those of `among` whose code or English name is like that of `asked`, the nearest first."""
    by_name: dict[str, str] = {}
    for each in among:
        for spelled in (each.lower(), name(each).lower()):
            by_name.setdefault(spelled, each)
    alike = [
        by_name[spelled]
        for given in dict.fromkeys((asked.lower(), name(asked).lower()))
        for spelled in get_close_matches(given, by_name, n=MOST_NEAR, cutoff=LIKENESS)
    ]
    return list(dict.fromkeys(alike))[:MOST_NEAR]


def _listed(languages: Iterable[str]) -> str:
    named = (each if name(each) == each else f"{each} ({name(each)})" for each in languages)
    return listed(named, LISTED_CHARACTERS)
