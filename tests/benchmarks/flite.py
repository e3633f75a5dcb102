"""The synthesizer flite, which says when each word of a text is spoken. A package of most Linux systems: `flite`.

Black and Lenzo 2001, "Flite: a small fast run-time synthesis engine". Its voices speak 16,000 samples a second.
"""

import ctypes
from ctypes.util import find_library
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from earshot_asr.client.evaluate.take import SpokenWord
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.text import normalize

VOICES = ("slt", "rms", "awb", "kal16")
POINTER, TEXT = ctypes.c_void_p, ctypes.c_char_p
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "flite_init": (ctypes.c_int,),
    "flite_synth_text": (POINTER, TEXT, POINTER),
    "delete_utterance": (None, POINTER),
    "utt_relation": (POINTER, POINTER, TEXT),
    "utt_wave": (POINTER, POINTER),
    "relation_head": (POINTER, POINTER),
    "item_next": (POINTER, POINTER),
    "item_parent": (POINTER, POINTER),
    "item_as": (POINTER, POINTER, TEXT),
    "item_feat_float": (ctypes.c_float, POINTER, TEXT),
    "item_feat_string": (TEXT, POINTER, TEXT),
}
"""The functions of its library that are called: result and arguments."""


class _Wave(ctypes.Structure):
    _fields_ = (
        ("type", TEXT),
        ("rate", ctypes.c_int),
        ("count", ctypes.c_int),
        ("channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    )


class Flite:
    """The library. `folder`: where its files are; None: where the system has them. Raises ConfigError."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._library = self._load("flite")
        for name, (result, *arguments) in FUNCTIONS.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments
        self._library.flite_init()
        self._load("flite_cmulex")
        self._load("flite_usenglish")
        self._voice = cache(self._registered)

    def _load(self, name: str) -> ctypes.CDLL:
        path = self._folder / f"lib{name}.so.1" if self._folder else find_library(name)
        try:
            if path is None:
                raise OSError("there is none")
            return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        except OSError as e:
            raise ConfigError(f"the library {name} can't be loaded ({e}); install the system's package flite") from None

    def _registered(self, voice: str) -> int:
        register = getattr(self._load(f"flite_cmu_us_{voice}"), f"register_cmu_us_{voice}")
        register.restype, register.argtypes = POINTER, [TEXT]
        return int(register(None))

    def say(self, text: str, voice: str) -> tuple[Pcm, list[SpokenWord]]:
        """A text in speech, and when each word is said."""
        library = self._library
        utterance = library.flite_synth_text(text.encode(), self._voice(voice))
        wave = ctypes.cast(library.utt_wave(utterance), ctypes.POINTER(_Wave)).contents
        assert wave.rate == SAMPLE_RATE, (voice, wave.rate)
        pcm = np.ctypeslib.as_array(wave.samples, (wave.count,)).astype(np.int16)
        spans: dict[int, tuple[str, float, float]] = {}  # by the word's address
        begin, phone = 0.0, library.relation_head(library.utt_relation(utterance, b"Segment"))
        while phone:
            end = library.item_feat_float(phone, b"end")
            syllable = library.item_as(phone, b"SylStructure")
            syllable = syllable and library.item_parent(syllable)
            if word := syllable and library.item_parent(syllable):
                name = normalize(library.item_feat_string(word, b"name").decode())
                spans[word] = name, spans.get(word, (name, begin))[1], end
            begin, phone = end, library.item_next(phone)
        library.delete_utterance(utterance)
        return pcm, [SpokenWord(*span) for span in spans.values()]
