"""PocketSphinx beside ours."""

import numpy as np
import pytest

from earshot_asr.client.evaluate.manifest import Selection, load
from earshot_asr.client.evaluate.recordings import recording
from earshot_asr.client.evaluate.sphinx import pocketsphinx
from earshot_asr.client.evaluate.tally import errors
from earshot_asr.engine.text import normalize
from tests.helpers import noise, shared, silence

pytest.importorskip("pocketsphinx")


def test_it_hears_nothing_in_nothing() -> None:
    heard = pocketsphinx()
    assert heard([]) == heard([silence(0)]) == heard([silence(0.01)]) == ""


@pytest.mark.slow
def test_it_hears_speech_and_forgets_what_was_before() -> None:
    *_, clip = load([shared("speech") / "long.jsonl"], Selection(limit=4))
    pcm = recording(clip)
    heard = pocketsphinx()
    alone = heard([pcm])
    wrong, said = errors(normalize(clip.reference).split(), normalize(alone).split())
    assert said > 4 and wrong / said < 0.5
    loud = noise(16_000, np.random.default_rng(0), 3000.0)
    assert heard([loud, pcm]) == f"{heard([loud])} {alone}".strip()
