"""CPU time to the first text of a large checkpoint, beside what nobody can do without.

    python -m tests.benchmarks.loading [--model DIR|HUB_ID] [--dtype float16]

"ours" is a new process that calls `transcribe` on the bundled recording, until the first utterance is there. "floor" is
another one that imports the same modules, reads every tensor of the same files with safetensors, and computes one
forward pass over that utterance. CPU time of one thread each, in turns; the least counts. Without --model, a model of
XLSR-large's shape (315 M parameters) with random weights is made in a temporary folder. The last line on standard
output is one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from earshot_asr.engine.checkpoint import build_encoder
from earshot_asr.engine.files import read_json
from tests.benchmarks.full_size import LARGE

AUDIO = Path(__file__).parents[2] / "client" / "data" / "demo.flac"
OURS = """
import time
from earshot_asr.engine.transcription import transcribe
final = next(transcribe({audio!r}, model={model!r}, device="cpu"))
assert final.text
print(time.process_time())
"""
FLOOR = """
import time
import torch
import earshot_asr.engine.transcription, earshot_asr.engine.runner, earshot_asr.engine.greedy
import earshot_asr.engine.sources
imported = time.process_time()
from earshot_asr.engine.hub import locate
from safetensors.torch import load_file
folder = locate({model!r}).with_weights().folder
for path in folder.glob("*.safetensors"):
    assert all(tensor.float().sum().isfinite() for tensor in load_file(path).values())
loaded = time.process_time()
from earshot_asr.engine.checkpoint import load_checkpoint
encoder = load_checkpoint({model!r}).encoder
with torch.inference_mode():
    samples = torch.randn(1, {samples}) * 0.1
    began = time.process_time()
    encoder(samples)
    computed = time.process_time() - began
print(imported, loaded - imported, computed)
"""
UTTERANCE_SAMPLES = """
from earshot_asr.engine.transcription import transcribe
final = next(transcribe({audio!r}, model={model!r}, device="cpu"))
print(final.cut - final.segment + 10240)
"""
"""The first utterance of the recording with the context of its final window, 0.64 s."""


def make(folder: Path, dtype: torch.dtype) -> None:
    """Writes a checkpoint of XLSR-large's shape with random weights, whose head is never blank."""
    torch.manual_seed(0)
    model = Wav2Vec2ForCTC(Wav2Vec2Config(**LARGE, vocab_size=32, pad_token_id=0))
    with torch.no_grad():
        assert model.lm_head.bias is not None
        model.lm_head.bias[0] = -1e4
    model.to(dtype).save_pretrained(folder)
    symbols = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz", "'"]
    (folder / "vocab.json").write_text(json.dumps({symbol: id for id, symbol in enumerate(symbols)}))
    preprocessor = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16000, "do_normalize": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    build_encoder(read_json(folder / "config.json"), preprocessor)


def child(program: str, **values: Any) -> list[float]:
    """The numbers that a program prints which runs in a new process, on one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program.format(**values)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return [float(word) for word in done.stdout.split()]


def measure(model: str, repeats: int) -> dict[str, float]:
    """CPU seconds: of ours, and of the parts of the floor."""
    values: dict[str, Any] = {"model": model, "audio": str(AUDIO)}
    values["samples"] = int(child(UTTERANCE_SAMPLES, **values)[0])
    ours, floors = [], []
    for _ in range(repeats):
        ours += child(OURS, **values)
        floors.append(child(FLOOR, **values))
    imports, load, forward = (min(parts) for parts in zip(*floors, strict=True))
    floor = imports + load + forward
    figures = {"ours": min(ours), "floor": floor, "imports": imports, "load": load, "forward": forward}
    return {name: round(value, 2) for name, value in {**figures, "ratio": min(ours) / floor}.items()}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a checkpoint (one of XLSR-large's shape with random weights)")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="of one made")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each (3)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        if options.model is None:
            make(Path(made), getattr(torch, options.dtype))
        figures = measure(options.model or made, options.repeats)
    for name, value in figures.items():
        print(f"{name:8} {value:6.2f}{'' if name == 'ratio' else ' s of CPU time'}")
    print(json.dumps({"benchmark": "loading", "dtype": options.dtype, **figures}))


if __name__ == "__main__":
    main()
