"""Parity with transformers and speed beside it, at full size, with random weights.

    python -m tests.benchmarks.full_size --shape base --shape xlsr-large --shape w2v-bert-2.0 --shape wavlm-base

Both are given the same samples and make log-probabilities of them; "model" is theirs without the feature extractor.
Runs take turns, and the fastest of each counts. On a machine that is busy with other things, --threads 1 --cpu-time
counts the time that the process had. The last line on standard output is one JSON object.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioForCTC,
    HubertConfig,
    HubertForCTC,
    OmniASRCTCConfig,
    OmniASRFeatureExtractor,
    OmniASRForCTC,
    ParakeetCTCConfig,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    SeamlessM4TFeatureExtractor,
    SEWConfig,
    SEWForCTC,
    UniSpeechSatConfig,
    UniSpeechSatForCTC,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForCTC,
    Wav2Vec2Config,
    Wav2Vec2ConformerConfig,
    Wav2Vec2ConformerForCTC,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WavLMConfig,
    WavLMForCTC,
)

from earshot_asr.engine.checkpoint import build_encoder, load_weights

LARGE = dict(
    hidden_size=1024,
    num_hidden_layers=24,
    num_attention_heads=16,
    intermediate_size=4096,
    feat_extract_norm="layer",
    conv_bias=True,
    do_stable_layer_norm=True,
)
SEW_MID = dict(
    hidden_size=512,
    num_hidden_layers=24,
    num_attention_heads=8,
    intermediate_size=2048,
    num_conv_pos_embeddings=31,
)
SAMPLES = Wav2Vec2FeatureExtractor(do_normalize=True)
SHAPES: dict[str, tuple[type[Any], Any, Any]] = {
    "base": (Wav2Vec2ForCTC, Wav2Vec2Config(), SAMPLES),
    "xlsr-large": (Wav2Vec2ForCTC, Wav2Vec2Config(**LARGE), SAMPLES),
    "w2v-bert-2.0": (Wav2Vec2BertForCTC, Wav2Vec2BertConfig(vocab_size=32), SeamlessM4TFeatureExtractor()),
    "w2v-bert-2.0-adapter": (
        Wav2Vec2BertForCTC,
        Wav2Vec2BertConfig(vocab_size=32, add_adapter=True),
        SeamlessM4TFeatureExtractor(),
    ),
    "wav2vec2-conformer-rope-large": (
        Wav2Vec2ConformerForCTC,
        Wav2Vec2ConformerConfig(**LARGE, vocab_size=32, hidden_act="swish", position_embeddings_type="rotary"),
        SAMPLES,
    ),
    "omniasr-ctc-300m": (OmniASRForCTC, OmniASRCTCConfig(audio_config={}), OmniASRFeatureExtractor()),
    "parakeet-ctc-0.6b": (ParakeetForCTC, ParakeetCTCConfig(encoder_config={}), ParakeetFeatureExtractor()),
    "hubert-large": (HubertForCTC, HubertConfig(**LARGE), SAMPLES),
    "unispeech-sat-base": (UniSpeechSatForCTC, UniSpeechSatConfig(), SAMPLES),
    "wavlm-base": (WavLMForCTC, WavLMConfig(), SAMPLES),
    "wavlm-large": (WavLMForCTC, WavLMConfig(**LARGE), SAMPLES),
    "data2vec-audio-base": (Data2VecAudioForCTC, Data2VecAudioConfig(), SAMPLES),
    "sew-mid": (SEWForCTC, SEWConfig(**SEW_MID), SAMPLES),
}


def fastest(
    runs: list[Callable[[], object]], repeats: int, synchronize: Callable[[], object], clock: Callable[[], float]
) -> list[float]:
    """Seconds that the fastest call of each took, after one that warms up; they take turns."""
    best = [float("inf")] * len(runs)
    for turn in range(repeats + 1):
        for i, run in enumerate(runs):
            synchronize()
            start = clock()
            run()
            synchronize()
            if turn:
                best[i] = min(best[i], clock() - start)
    return best


@torch.inference_mode()
def measure(
    shape: str, seconds: float, batch: int, repeats: int, device: str, clock: Callable[[], float]
) -> dict[str, Any]:
    """One row of the table."""
    kind, config, extractor = SHAPES[shape]
    torch.manual_seed(0)
    theirs = kind(config).eval()
    ours = build_encoder(config.to_dict(), extractor.to_dict())
    load_weights(ours, theirs.state_dict(), torch.device(device), torch.float32)
    theirs.to(device)
    samples = ours.grid.span(0, ours.grid.frames(round(seconds * 16000)))[1]
    rows = (torch.randn(batch, samples) * 0.1).clamp(-1, 0.99)
    arrays = list(rows.numpy())
    rows = rows.to(device)

    def extract() -> dict[str, Tensor]:
        inputs = extractor(arrays, sampling_rate=16000, return_tensors="pt").to(device)
        return {name: tensor for name, tensor in inputs.items() if not (name.endswith("_mask") and tensor.all())}

    def reference(inputs: dict[str, Tensor]) -> Tensor:
        return torch.log_softmax(theirs(**inputs).logits, dim=-1)

    inputs = extract()
    expected = reference(inputs)
    difference = float((ours(rows) - expected).abs().max() / expected.abs().max())
    wait: Callable[[], object] = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    runs: list[Callable[[], object]] = [lambda: ours(rows), lambda: reference(extract()), lambda: reference(inputs)]
    mine, whole, model = (1000 * s / (batch * seconds) for s in fastest(runs, repeats, wait, clock))
    return {
        "shape": shape,
        "parameters_m": round(sum(p.numel() for p in theirs.parameters()) / 1e6, 1),
        "difference": difference,
        "ours_ms": round(mine, 2),
        "theirs_ms": round(whole, 2),
        "theirs_model_ms": round(model, 2),
        "ratio": round(whole / mine, 2),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", action="append", choices=SHAPES, help="may be repeated; all of them if not given")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a row (4)")
    parser.add_argument("--batch", type=int, default=1, help="rows (1)")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each (5)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cpu-time", action="store_true", help="count the process's CPU time instead of wall time")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.allow_tf32 = False  # else a GPU's convolutions differ by 1e-3
    clock = time.process_time if options.cpu_time else time.perf_counter
    rows = []
    for shape in options.shape or SHAPES:
        rows.append(measure(shape, options.seconds, options.batch, options.repeats, options.device, clock))
    timed = "CPU time" if options.cpu_time else "wall time"
    title = f"{options.batch} x {options.seconds:g} s, float32, {options.device}, {options.threads} threads, {timed}"
    table = Table(title=title)
    for name in ("shape", "parameters", "max rel. difference", "ours ms/s", "theirs ms/s", "(model)", "theirs / ours"):
        table.add_column(name, justify="left" if name == "shape" else "right")
    for row in rows:
        values = (row["parameters_m"], row["ours_ms"], row["theirs_ms"], row["theirs_model_ms"], row["ratio"])
        size, mine, whole, model, ratio = (f"{value:.2f}" for value in values)
        table.add_row(row["shape"], f"{size} M", f"{row['difference']:.1e}", mine, whole, model, ratio)
    Console().print(table)
    condition = {name: getattr(options, name) for name in ("seconds", "batch", "threads", "device", "cpu_time")}
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "machine": platform.machine()}
    print(json.dumps({"benchmark": "full_size", **condition, **versions, "rows": rows}))


if __name__ == "__main__":
    main()
