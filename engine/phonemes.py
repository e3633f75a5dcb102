"""Text -> phonemes by eSpeak NG, in the form that facebook/wav2vec2-xlsr-53-espeak-cv-ft was trained on.

transformers' Wav2Vec2PhonemeCTCTokenizer gets the same (lower case, no punctuation, no stress, no flags of language
switches) from the package phonemizer; here it comes from four C functions of the library itself. phonemizer and eSpeak
NG are under the GPL, so neither is required: the extra `phonemes` installs the library as a wheel, and the system's own
works as well. Pronunciations change with its version, which therefore belongs to the description of a model.
"""

import ctypes
import importlib
import re
import threading
import unicodedata
from collections.abc import Mapping
from ctypes.util import find_library
from difflib import get_close_matches
from functools import cache
from typing import TypeAlias

from earshot_asr.engine.errors import ConfigError

Phonemes: TypeAlias = list[list[str]]
"""Words of phonemes."""

OTHER_NAMES = {"en": "en-us", "fr": "fr-fr", "zh": "cmn", "zh-hk": "yue", "nn": "nb", "no": "nb"}
"""Our names of languages -> the library's, where they differ."""
DOTLESS = ("tr", "az")
"""Languages in which "I" is the capital of "ı"."""
SCRIPTS = {"cmn": "你好", "yue": "你好", "ja": "日本語"}
"""Text that a voice must be able to read: some versions lack its dictionary, and say "Chinese letter" in English."""
MOST_NEAR = 4
"""Similar languages that an error message names for one that is unknown."""
INSTALL = "pip install espeakng-loader, or the system's package espeak-ng"

MARK = "_"
"""The separator between two phonemes of a word."""
PUNCTUATION = re.compile(r'[;:!?¡¿—…"«»“”(){}\[\]\0]|(?<!\d)[,.]|[,.](?!\d)')
"""What phonemizer takes for punctuation, except within a number."""
STRESS = re.compile(r"[ˈˌ'-]+")
SWITCH = re.compile(r"\(.+?\)")
"""A switch to another language, as in "(en)"."""


def phonemes(text: str, language: str) -> Phonemes:
    """The phonemes of a text: "hello you" -> [["h", "ə", "l", "oʊ"], ["j", "uː"]]. "of the" may become one word.

    language    as in manifests: "en", "sv-SE", "zh-CN"

    Raises ConfigError if the language has no voice, or if eSpeak NG is not installed.
    """
    spoken = SWITCH.sub("", _espeak().read(PUNCTUATION.sub(" ", _lower(text, language)), voice(language)))
    words = ([phone for phone in word.split(MARK) if phone] for word in STRESS.sub("", spoken).split())
    return [word for word in words if word]


def _lower(text: str, language: str) -> str:
    """The text in lower case. In Turkish and Azeri the capital of "ı" is "I", and that of "i" is "İ"."""
    if re.split("[-_]", language.lower())[0] in DOTLESS:
        text = unicodedata.normalize("NFC", text).replace("İ", "i").replace("I", "ı")
    return text.lower()


def targets(text: str, language: str | None, given: str | None, where: str) -> str:
    """The phonemes of a manifest's line, with spaces between them: those `given`, or eSpeak NG's for its text.

    Raises ConfigError that names the line, `where`.
    """
    if given is not None:
        return " ".join(given.split())
    if not text.strip():
        return ""
    if language is None:
        raise ConfigError(f"{where}: there are neither phonemes nor lang, by which the text could be read")
    try:
        return " ".join(phone for word in phonemes(text, language) for phone in word)
    except ConfigError as e:
        raise ConfigError(f"{where}: {e}") from None


@cache
def voice(language: str) -> str:
    """The identifier of a language's voice. Raises ConfigError if it has none."""
    voices = _espeak().voices
    tag = language.lower().replace("_", "-")
    names = [OTHER_NAMES.get(name, name) for name in (tag, tag.partition("-")[0])]
    name = next((name for name in names if name in voices), None)
    if name is None:
        near = ", ".join(sorted(get_close_matches(tag, {*voices, *OTHER_NAMES}, n=MOST_NEAR, cutoff=0.4)))
        raise ConfigError(
            f"espeak-ng {version()} has no voice for language {language!r}{near and f'; near are {near}'}; "
            f"`espeak-ng --voices` lists all {len(voices)}, and so does its docs/languages.md"
        )
    if name in SCRIPTS and SWITCH.search(_espeak().read(SCRIPTS[name], voices[name])):
        raise ConfigError(
            f"espeak-ng {version()} can't read {language!r}: its voice reads {SCRIPTS[name]} as English; leave these "
            "lines out, or give them a field `phonemes`"
        )
    return voices[name]


def version() -> str:
    """The version of eSpeak NG, such as "1.52.0". Raises ConfigError if it is not installed."""
    return _espeak().version


# ---- the library (speak_lib.h)


class _Voice(ctypes.Structure):
    """The first fields of espeak_VOICE. languages: a byte of priority, then a name."""

    _fields_ = (("name", ctypes.c_char_p), ("languages", ctypes.c_char_p), ("identifier", ctypes.c_char_p))


class _Espeak:
    """The library. A process has one of it, which has one voice and serves one thread at a time."""

    SYNCHRONOUS, DONT_EXIT = 2, 0x8000
    UTF8, IPA = 1, 2

    def __init__(self, library: str, data: str | None) -> None:
        try:
            self._library = ctypes.CDLL(library)
        except OSError as e:
            raise ConfigError(f"phonemes need eSpeak NG, and {library} can't be loaded ({e}); {INSTALL}") from None
        self._lock = threading.Lock()
        self._voice = ""
        self._library.espeak_Info.restype = ctypes.c_char_p
        self._library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        if self._library.espeak_Initialize(self.SYNCHRONOUS, 0, data and data.encode(), self.DONT_EXIT) <= 0:
            raise ConfigError(f"phonemes need eSpeak NG, and {library} does not find its data; {INSTALL}")
        self.version = str(self._library.espeak_Info(None).decode())
        self.voices = self._listed()

    def _listed(self) -> Mapping[str, str]:
        """Language -> identifier of its voice."""
        voices: dict[str, str] = {}
        for entry in self._library.espeak_ListVoices(None):
            if not entry:
                break
            found = entry.contents
            voices.setdefault(found.languages[1:].decode(), found.identifier.decode())
        return voices

    def read(self, text: str, voice: str) -> str:
        """The text in IPA: spaces between words, MARK between phonemes, with stress and switches of language."""
        clauses: list[str] = []
        place = ctypes.c_char_p(text.encode())
        with self._lock:
            if voice != self._voice:
                failed = self._library.espeak_SetVoiceByName(voice.encode())
                assert not failed, (voice, failed)
                self._voice = voice
            while place:  # each call moves it on by a clause, and at the end to NULL
                mode = ord(MARK) << 8 | self.IPA
                clauses.append(
                    self._library.espeak_TextToPhonemes(ctypes.byref(place), self.UTF8, mode).decode(errors="ignore")
                )
        return " ".join(clauses)


@cache
def _espeak() -> _Espeak:
    """The library of the wheel, whose version is the same everywhere, or else the system's."""
    try:
        wheel = importlib.import_module("espeakng_loader")
    except ImportError:
        if (library := find_library("espeak-ng")) is None:
            raise ConfigError(f"phonemes need eSpeak NG: {INSTALL}") from None
        return _Espeak(library, None)
    return _Espeak(wheel.get_library_path(), wheel.get_data_path())
