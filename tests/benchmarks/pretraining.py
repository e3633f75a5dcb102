"""Does pretraining help, and do other languages? Phoneme error rates after fine-tuning, as in the XLSR paper but small.

    python -m tests.benchmarks.pretraining --out OUT --pretrain-steps 5000 --finetune-steps 1500

For each of four languages a model of 1.5 M parameters learns to write phonemes (eSpeak NG's) for as many steps, first
frame by frame from a flat start, then by CTC:
from nothing; pretrained on the language's own recordings; pretrained on those of 58 languages. What is pretrained has
had --pretrain-steps in addition, the same for each. Everything else is alike: shape, rates, batches, seed. Judged is
greedy decoding of the averaged weights on recordings of other speakers.

The budget is one of steps, not of minutes, so that a machine that has other things to do as well changes nothing; on
one core a step takes half a second. Each part is kept in OUT, and a part that was interrupted goes on: the same
command again does what is left. The table is printed as Markdown, and the last line on standard output is one JSON
object.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from earshot_asr.engine.audio import SAMPLE_RATE, Seconds
from earshot_asr.engine.families.wav2vec2 import FAMILY
from earshot_asr.engine.phonemes import phonemes
from earshot_asr.engine.training.ctc.command import CtcTask
from earshot_asr.engine.training.ctc.judge import Judge
from earshot_asr.engine.training.ctc.model import CtcModel, Losses
from earshot_asr.engine.training.data import units
from earshot_asr.engine.training.data.corpus import Corpus, Filter, open_corpus
from earshot_asr.engine.training.data.spelling import Alphabet
from earshot_asr.engine.training.data.utterances import needed
from earshot_asr.engine.training.distributed import World
from earshot_asr.engine.training.loop import LoopOptions, train
from earshot_asr.engine.training.pretrain.codes import figure
from earshot_asr.engine.training.pretrain.command import only
from earshot_asr.engine.training.pretrain.languages import Languages, Masks
from earshot_asr.engine.training.pretrain.pretrained import create, open_pretrained
from earshot_asr.engine.training.pretrain.pretraining import HeldOut, Pretraining, PretrainTask, Temperature
from earshot_asr.engine.training.pretrain.usage import usage
from earshot_asr.engine.training.regularization import Regularization
from earshot_asr.engine.training.shapes import PRETRAINING_SHAPES
from earshot_asr.engine.training.start import TrainingModel, from_checkpoint, from_nothing
from earshot_asr.engine.training.task import Task, TrainingBatch

SPEECH = Path(__file__).parents[3] / "shared" / "speech"
CONFIG: dict[str, Any] = PRETRAINING_SHAPES["tiny"] | {
    "conv_dim": [144, 144, 144],
    "hidden_size": 144,
    "num_hidden_layers": 5,
    "num_attention_heads": 3,
    "intermediate_size": 576,
}
"""A quarter of the shape: the table has seventeen parts, and two cores have to come to an end."""
PREPROCESSOR = FAMILY.preprocessor(CONFIG)
NEVER = 1e9
"""Minutes: judged at the end alone."""
MULTILINGUAL = "multilingual"
HOP = 320
LOUD = 0.05
"""Of a recording's peak: what is louder is speech."""
CONDITIONS = ("nothing", "monolingual", MULTILINGUAL)


def main() -> None:
    """Does what is left of the table, and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a folder for all parts")
    parser.add_argument("--pretrain-steps", type=int, default=5000)
    parser.add_argument("--finetune-steps", type=int, default=1500)
    parser.add_argument("--languages", default="fi,ka,pt,tr", help="(default: %(default)s)")
    parser.add_argument("--train", type=Path, default=SPEECH / "multilingual-train.jsonl")
    parser.add_argument("--dev", type=Path, default=SPEECH / "multilingual-dev.jsonl")
    parser.add_argument("--cache", type=Path, help="of decoded audio (default: in --out)")
    parser.add_argument("--crops", type=int, default=16, help="of 3 s in a batch of pretraining (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=6, help="in a batch of fine-tuning (default: %(default)s)")
    parser.add_argument("--longest", type=float, default=6.5, help="seconds of a row (default: %(default)s)")
    parser.add_argument("--pretrain-rates", type=float, nargs=2, default=(1e-3, 2e-3), metavar=("ADAMW", "MUON"))
    parser.add_argument("--finetune-rates", type=float, nargs=2, default=(1e-3, 2e-3), metavar=("ADAMW", "MUON"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    table = Table(parser.parse_args())
    table.fill()
    print(table.markdown())
    print(json.dumps(table.json()))


class Table:
    """The parts, and what came out of them."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.world = args, World(args.device)
        self.languages = args.languages.split(",")
        cache, spoken = args.cache or args.out / "audio", Filter(transcribed=False, longest=120.0)
        self.train = open_corpus([args.train], cache, filter=spoken)
        self.dev = open_corpus([args.dev], cache, filter=spoken, quiet=True)
        self.pretrained: dict[str, dict[str, Any]] = {}
        self.rates: dict[tuple[str, str], dict[str, Any]] = {}
        self.began = time.monotonic()

    def fill(self) -> None:
        """One part after another: the table fills language by language."""
        self.pretrained[MULTILINGUAL] = self._pretrained(MULTILINGUAL, None)
        for language in self.languages:
            self.pretrained[language] = self._pretrained(f"monolingual-{language}", language)
            for condition in CONDITIONS:
                self.rates[language, condition] = self._fine_tuned(language, condition)
        drawing = self.args.out / "codes.svg"
        if not drawing.exists():
            model, _ = open_pretrained(self.args.out / MULTILINGUAL / "model")
            drawing.write_text(figure(usage(model.eval(), self.dev, least=20, most=180)), encoding="utf-8")

    def _pretrained(self, name: str, language: str | None) -> dict[str, Any]:
        out = self.args.out / name
        steps = self.args.pretrain_steps
        return self._kept(out, steps) or self._run(name, out, self._pretraining(language), steps)

    def _fine_tuned(self, language: str, condition: str) -> dict[str, Any]:
        name = f"{language} from {condition}"
        out = self.args.out / name.replace(" ", "-")
        steps = self.args.finetune_steps
        return self._kept(out, steps) or self._run(name, out, self._tuning(language, condition), steps)

    def _kept(self, out: Path, steps: int) -> dict[str, Any] | None:
        path = out / "result.json"
        if not path.exists():
            return None
        result = dict(json.loads(path.read_text()))
        if result.get("config", CONFIG) != CONFIG:
            raise SystemExit(f"{out} was another shape; give another --out")
        if result["step"] != steps:
            raise SystemExit(f"{out} had {result['step']} steps, not {steps}; give the same number, or another --out")
        return result

    def _run(self, name: str, out: Path, task: Task, steps: int) -> dict[str, Any]:
        """Trains, and keeps what the last lines of the log say."""
        print(f"[{(time.monotonic() - self.began) / 60:.1f} min] {name}, {steps} steps", flush=True)
        adamw, muon = self.args.pretrain_rates if isinstance(task, PretrainTask) else self.args.finetune_rates
        options = LoopOptions(
            steps=steps, adamw=adamw, muon=muon or None, seed=self.args.seed, log_every=25, judge_every=NEVER
        )
        out.mkdir(parents=True, exist_ok=True)
        train(task, options, out, self.world)
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        dev = next(line["dev"] for line in reversed(lines) if "dev" in line)
        last = next(line for line in reversed(lines) if "hours" in line)
        result = {"dev": dev, "config": CONFIG, **{key: last[key] for key in ("step", "hours", "loss")}}
        (out / "result.json").write_text(json.dumps(result, indent=2) + "\n")
        return result

    # ---- tasks

    def _pretraining(self, language: str | None) -> PretrainTask:
        torch.manual_seed(self.args.seed)
        model = create(CONFIG, PREPROCESSOR)
        corpora = [c if language is None else only(c, [language]) for c in (self.train, self.dev)]
        crops = [
            Languages(c, model.wav2vec2.grid, self.world.device, Masks(), batch=self.args.crops, seed=self.args.seed)
            for c in corpora
        ]
        held_out = HeldOut(corpora[1], crops[1], count=1 if language is None else 8)
        settings = {"config.json": CONFIG, "preprocessor_config.json": PREPROCESSOR}
        return PretrainTask(Pretraining(model, Temperature()), crops[0], held_out, settings)

    def _tuning(self, language: str, condition: str) -> CtcTask:
        spoken, dev = (in_phonemes(only(corpus, [language])) for corpus in (self.train, self.dev))
        vocabulary = units.phonemes(spoken.texts)
        start: TrainingModel
        if condition == "nothing":
            start = from_nothing(CONFIG, PREPROCESSOR, vocabulary, self.args.seed)
        else:
            folder = condition if condition == MULTILINGUAL else f"{condition}-{language}"
            start = from_checkpoint(self.args.out / folder / "model", vocabulary, seed=self.args.seed)
        left_out = Regularization.read(start.config)
        model = CtcModel(start.encoder, start.masked, vocabulary.blank, regularization=left_out, losses=Losses())
        source = Rows(spoken, Alphabet(vocabulary), start, self.args, self.world.device)
        return CtcTask(start, model, source, Judge(dev, vocabulary, per_corpus=None), "float16")

    # ---- what is said

    def markdown(self) -> str:
        """The table, and its conditions."""
        lines = [
            "| phoneme error rate (%) | phonemes in dev | from nothing | monolingual | multilingual |",
            "|---|---|---|---|---|",
        ]
        for language in self.languages:
            said = sum(len(text.split()) for text in in_phonemes(only(self.dev, [language])).texts)
            lines.append(
                f"| {language} | {said} | " + " | ".join(f"{self._rate(language, c):.1f}" for c in CONDITIONS) + " |"
            )
        means = (np.mean([self._rate(language, c) for language in self.languages]) for c in CONDITIONS)
        lines.append("| mean | | " + " | ".join(f"{mean:.1f}" for mean in means) + " |")
        header = "| pretrained on | hours heard | steps | accuracy | codewords that a language uses |"
        lines += ["", header, "|---|---|---|---|---|"]
        for name, result in self.pretrained.items():
            dev = result["dev"]
            used = np.mean(list(dev["languages"].values()))  # in as many seconds of each
            figures = f"{result['hours']:.1f} | {result['step']} | {dev['accuracy']:.1%} | {used:.0f}"
            lines.append(f"| {name} | {figures} |")
        args, tuned = self.args, list(self.rates.values())
        heard = np.mean([60 * result["hours"] for result in tuned])
        return "\n".join(
            [
                *lines,
                "",
                f"{args.pretrain_steps} steps of pretraining, {args.finetune_steps} of fine-tuning "
                f"({heard:.0f} minutes of audio) on {torch.get_num_threads()} threads of "
                f"{self.world.device}; seed {args.seed}.",
            ]
        )

    def _rate(self, language: str, condition: str) -> float:
        """Results of before 2026-11-22 call it wer."""
        pooled = self.rates[language, condition]["dev"]["pooled"]
        return float(pooled.get("per", pooled.get("wer")))

    def json(self) -> dict[str, Any]:
        """All results."""
        rates = {f"{language} {condition}": result for (language, condition), result in self.rates.items()}
        options = {name: str(value) if isinstance(value, Path) else value for name, value in vars(self.args).items()}
        return {"options": options, "pretrained": self.pretrained, "fine-tuned": rates}


class Rows:
    """Whole utterances, padded to one length for all languages, so that there is one thing to compile; a Source."""

    def __init__(
        self, corpus: Corpus, alphabet: Alphabet, start: TrainingModel, args: argparse.Namespace, device: torch.device
    ) -> None:
        self.grid = grid = start.encoder.grid
        self.blank = start.vocabulary.blank
        self.size, self.count, self.seed, self.device = samples(args.longest), args.rows, args.seed, device
        targets = [np.array(alphabet.ids(text), np.int64) for text in corpus.texts]
        fit = [
            length <= self.size and 0 < needed(ids) <= grid.frames(length)
            for ids, length in zip(targets, corpus.lengths.tolist(), strict=True)
        ]
        self.corpus, self.targets = corpus.select(fit), [ids for ids, good in zip(targets, fit, strict=True) if good]

    def draw(self, step: int) -> TrainingBatch:
        """See Source: all utterances before any comes again."""
        first = step * self.count
        chosen = [self._order(k // len(self.corpus))[k % len(self.corpus)] for k in range(first, first + self.count)]
        rows = np.zeros((self.count, self.size), np.float32)
        for row, n in zip(rows, chosen, strict=True):
            pcm = self.corpus.pcm(n)
            row[: len(pcm)] = pcm / np.float32(32768)
        ids = [self.targets[n] for n in chosen]
        flat = [self._flat(row, each) for row, each in zip(rows, ids, strict=True)]
        return TrainingBatch(
            torch.from_numpy(rows).to(self.device),
            torch.from_numpy(self.corpus.lengths[chosen]),
            torch.from_numpy(np.concatenate(ids)).to(self.device),
            torch.tensor([len(each) for each in ids]),
            torch.from_numpy(np.stack(flat)).to(self.device),
        )

    def _flat(self, row: npt.NDArray[np.float32], ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """A flat start, as of hidden Markov models: symbols (T,), evenly spread over what is loud in a row (S,).

        Two frames in three are the symbol, the third is a blank; where nothing is loud, or at all, are blanks.
        """
        frames = self.grid.frames(len(row))
        loud = np.abs(row).reshape(-1, self.grid.hop)[:frames].max(1)
        there = np.flatnonzero(loud > LOUD * loud.max())
        symbols = np.full(frames, self.blank)
        if not len(there):
            return symbols
        first, end = int(there[0]), int(there[-1]) + 1
        place = (np.arange(first, end) - first) * len(ids) / (end - first)
        symbols[first:end] = np.where(place % 1 < 2 / 3, ids[place.astype(np.int64)], self.blank)
        return symbols

    def _order(self, epoch: int) -> Sequence[int]:
        order: list[int] = np.random.default_rng((self.seed, epoch)).permutation(len(self.corpus)).tolist()
        return order


def samples(seconds: Seconds) -> int:
    """To the nearest frame."""
    return round(seconds * SAMPLE_RATE / HOP) * HOP


def in_phonemes(corpus: Corpus) -> Corpus:
    """Texts become phonemes with spaces between; recordings in which nothing is said are left out."""
    said = [
        " ".join(phone for word in phonemes(row.text or "", row.lang or "") for phone in word) for row in corpus.rows
    ]
    return corpus.with_texts(said).select([bool(text) for text in said])


if __name__ == "__main__":
    main()
