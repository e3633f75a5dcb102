"""Word and character error rates over manifests: of one plain pass over each recording, and of the streaming engine.

    python -m tests.benchmarks.accuracy ../shared/speech/dev.jsonl ../shared/speech/long.jsonl

The file gap is the stream's WER minus the plain pass's: what endpointing and voice detection cost. Recordings are
streamed as fast as they go, which by design changes no final. The last line of the output is one JSON object.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jiwer
from rich.progress import track

from client.transcribe import plain, streamed
from engine.audio import SAMPLE_RATE
from engine.config import StreamConfig
from engine.events import Final
from engine.runner import load_runner
from engine.sources import open_file
from engine.text import normalize


def rows(manifests: list[Path], folds: set[int] | None, limit: int | None) -> Iterator[dict[str, Any]]:
    """Lines of the manifests, `audio` made a path; at most `limit` of each corpus."""
    seen: dict[str, int] = defaultdict(int)
    for manifest in manifests:
        for line in manifest.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            corpus = row.setdefault("corpus", manifest.stem)
            if (folds is None or row.get("fold") in (*folds, None)) and (limit is None or seen[corpus] < limit):
                seen[corpus] += 1
                yield row | {"audio": manifest.parent / row["audio"]}


def text_of(finals: Iterator[Final]) -> str:
    """Utterances -> one text."""
    return " ".join(final.text for final in finals)


def figures(lines: list[tuple[str, str, str]]) -> dict[str, float]:
    """(reference, plain, streamed) normalized -> rates in per cent."""
    reference, offline, stream = (list(column) for column in zip(*lines, strict=True))
    rates = {
        "plain_wer": jiwer.wer(reference, offline),
        "plain_cer": jiwer.cer(reference, offline),
        "stream_wer": jiwer.wer(reference, stream),
        "stream_cer": jiwer.cer(reference, stream),
    }
    return {name: round(100 * rate, 2) for name, rate in rates.items()} | {"clips": len(lines)}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", nargs="+", type=Path, help="JSON lines with audio and text")
    parser.add_argument("--model", help="folder or hub id; the bundled model if not given")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--latency", default="balanced", help="low, balanced or accurate")
    parser.add_argument("--commit", default="utterance", choices=["utterance", "hop"])
    parser.add_argument("--fold", type=int, action="append", help="only rows of this fold, and rows without one")
    parser.add_argument("--limit", type=int, help="at most so many recordings of a corpus")
    args = parser.parse_args()

    runner = load_runner(args.model, args.device)
    config = StreamConfig.preset(args.latency, commit=args.commit, partials=False)
    lines: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    chosen = list(rows(args.manifests, set(args.fold) if args.fold else None, args.limit))
    seconds, began = 0.0, time.perf_counter()
    for row in track(chosen, "recordings"):
        with open_file(row["audio"]) as audio:
            pcm = list(audio)
        seconds += sum(map(len, pcm)) / SAMPLE_RATE
        offline, stream = text_of(plain(runner, pcm)), text_of(streamed(runner, config, pcm))
        lines[row["corpus"]].append((normalize(row["text"]), normalize(offline), normalize(stream)))
    took = time.perf_counter() - began

    table = {corpus: figures(of_corpus) for corpus, of_corpus in lines.items()}
    table["pooled"] = figures([line for of_corpus in lines.values() for line in of_corpus])
    print(f"{'corpus':22}{'clips':>6}  {'plain WER / CER':>16}  {'stream WER / CER':>17}  {'file gap':>8}")
    for corpus, f in table.items():
        gap = f["stream_wer"] - f["plain_wer"]
        print(
            f"{corpus:22}{f['clips']:6}  {f['plain_wer']:8.1f} / {f['plain_cer']:5.1f}  "
            f"{f['stream_wer']:9.1f} / {f['stream_cer']:5.1f}  {gap:+8.2f}"
        )
    print(
        json.dumps(
            {"model": runner.info.name, "fingerprint": runner.info.fingerprint, "device": runner.device}
            | {"latency": args.latency, "commit": args.commit, "hours": round(seconds / 3600, 3)}
            | {"times_real_time": round(2 * seconds / took), "table": table}
        )
    )


if __name__ == "__main__":
    main()
