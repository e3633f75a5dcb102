"""torch.compile where it works."""

import warnings
from collections.abc import Callable
from functools import cache
from typing import TypeVar, cast

import torch

from earshot_asr.engine import wav2vec2
from earshot_asr.engine.layers import Encoder

Function = TypeVar("Function", bound=Callable[..., object])
SHAPES = 64
"""So many shapes of input are compiled; others run as they are."""


def compile_encoder(encoder: Encoder, eager: bool = False) -> None:
    """Its layers, and the convolutions of wav2vec 2.0, for each shape that comes; not if `eager` or without a compiler.

    All layers are one piece of code, compiled once: a quarter of the time that it takes for the whole, and as fast.
    torch.compiler.set_stance("force_eager") is for inputs of which no two have one shape.
    """
    if eager or not works():
        return
    torch._dynamo.config.recompile_limit = SHAPES
    for layer in encoder.layers:
        layer.compile(dynamic=False)
    if isinstance(encoder, wav2vec2.Wav2Vec2):
        encoder.feature_extractor.compile(dynamic=False)


def compiled(function: Function, eager: bool = False) -> Function:
    """The same for a function."""
    if eager or not works():
        return function
    torch._dynamo.config.recompile_limit = SHAPES
    return cast(Function, torch.compile(function, dynamic=False))


@cache
def works() -> bool:
    """Whether something can be compiled here: it takes a C++ compiler."""
    try:
        with warnings.catch_warnings(action="ignore"):
            torch.compile(lambda x: x + 1)(torch.zeros(2))
    except Exception:  # many kinds: no compiler, no Python headers, an unsupported Python
        return False
    return True
