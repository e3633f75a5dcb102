"""torch.compile, where there is a compiler."""

import warnings
from functools import cache

import torch

from earshot_asr.engine.families.layers import Encoder

MOST_SHAPES = 64
"""Shapes of input that a function is compiled for; further shapes run as they are."""


def compile_encoder(encoder: Encoder, eager: bool = False) -> None:
    """Compiles the encoder's layers and convolutions for each shape of input; not if `eager`, or without a compiler.

    All layers run the same code, which is compiled once: that takes a quarter of the time that the whole encoder would
    take, and runs as fast. For inputs that all differ in shape use torch.compiler.set_stance("force_eager").
    """
    if eager or not works():
        return
    torch._dynamo.config.recompile_limit = MOST_SHAPES
    for layer in encoder.layers:
        layer.compile(dynamic=False)
    if encoder.convolutions is not None:
        encoder.convolutions.compile(dynamic=False)


@cache
def works() -> bool:
    """Whether torch can compile here, which takes a C++ compiler."""
    try:
        with warnings.catch_warnings(action="ignore"):
            torch.compile(lambda x: x + 1)(torch.zeros(2))
    except Exception:  # of many types: no compiler, no Python headers, an unsupported Python
        return False
    return True
