"""Recordings that the fake encoder understands."""

import json
from pathlib import Path

import numpy as np
import soundfile

from tests.helpers import silence, speak


def manifest(folder: Path, **texts: str) -> Path:
    """Recordings that the fake encoder hears as these texts."""
    rows = []
    for name, text in texts.items():
        pcm = np.concatenate([silence(0.5), speak(text, blocks=3), silence(0.1)])
        soundfile.write(folder / f"{name}.wav", pcm, 16_000)
        rows.append({"audio": f"{name}.wav", "text": text, "corpus": "fake"})
    path = folder / "fake.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path
