"""`earshot evaluate`: errors, delays and stability of streams over manifests of recordings."""

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from earshot_asr.client.options import (
    Commit,
    CommitOption,
    Device,
    DeviceOption,
    EndpointOption,
    HotwordOption,
    LanguageOption,
    Latency,
    LatencyOption,
    LmOption,
    ModelOption,
    RevisionOption,
    Stability,
    StabilityOption,
    hotwords,
)

RECORDINGS_PANEL: dict[str, Any] = {"rich_help_panel": "Recordings"}
EXAMPLES = """Examples:

  earshot evaluate dev.jsonl --limit 20

  earshot evaluate dev.jsonl --latency low --report low.html

  earshot evaluate dev.jsonl --model ./my-model --against transformers --json > figures.json

  earshot evaluate dev.jsonl book.jsonl --join my-book --against pocketsphinx --against whisper --whisper-model DIR

  earshot evaluate dev.jsonl --limit 5 --sweep --out dev-sweep.jsonl --report dev-sweep.html

  earshot evaluate noise.jsonl --split dev --gain -20 --gain 0 --gain 10 --minutes 30
"""


class PeerName(StrEnum):
    """Other recognizers that `--against` can run on the same recordings."""

    transformers = "transformers"
    pocketsphinx = "pocketsphinx"
    whisper = "whisper"


LimitOption = Annotated[
    int | None,
    typer.Option(
        min=1, help="Maximum number of recordings of each corpus.", show_default="no limit", **RECORDINGS_PANEL
    ),
]
FoldOption = Annotated[
    list[int] | None,
    typer.Option("--fold", help="Only recordings of this fold, or without one. Repeatable.", **RECORDINGS_PANEL),
]
CorpusOption = Annotated[
    list[str] | None, typer.Option("--corpus", help="Only recordings of this corpus. Repeatable.", **RECORDINGS_PANEL)
]
AlignmentsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Word timings, as `earshot train align` writes them. Per-word delays need them.",
        show_default="alignments.jsonl.xz beside MANIFEST, if it exists",
        **RECORDINGS_PANEL,
    ),
]
SplitOption = Annotated[
    list[str] | None,
    typer.Option("--split", help="Only recordings of this split, or without one. Repeatable.", **RECORDINGS_PANEL),
]
JoinOption = Annotated[
    list[str] | None,
    typer.Option(
        "--join",
        metavar="CORPUS",
        help="Join the recordings of this corpus, in order, into one long stream. Repeatable.",
        show_default="none",
        **RECORDINGS_PANEL,
    ),
]
GainOption = Annotated[
    list[float] | None,
    typer.Option(
        "--gain",
        min=-80,
        max=40,
        metavar="DB",
        help="Play recordings without speech louder by this gain, in dB. Repeatable.",
        show_default="0",
        **RECORDINGS_PANEL,
    ),
]
MinutesOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Repeat recordings without speech until this many minutes are played, each time from another start.",
        show_default="play them once",
        **RECORDINGS_PANEL,
    ),
]
AgainstOption = Annotated[
    list[PeerName] | None,
    typer.Option(
        help="Other recognizers to run on the same recordings. transformers: the same weights, not streaming; "
        "pocketsphinx: PocketSphinx with its English model; whisper: Whisper with its decoder, by faster-whisper. "
        "Repeatable.",
        show_default="none",
    ),
]
WhisperModelOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder of a Whisper model in CTranslate2 format, for --against whisper.",
        show_default="none",
    ),
]


WallOption = Annotated[
    bool, typer.Option("--wall", help="Stream in real time over a socket, to a local server or to --url.")
]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="Server for --wall.", show_default="a local server"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
ReportOption = Annotated[
    Path | None,
    typer.Option("--report", metavar="FILE.html", help="Also write a page with plots and a glossary."),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Random seed of the 95 % confidence intervals.")]
SWEEP_HELP = (
    "Draw the curve of delay against change and errors: play the recordings with every --latency, --commit and "
    "--stability (or with those that are given alone), and with calm_ms, hop_ms, right_ms and left_ms of each preset "
    "times 0.5 and 1.5, one at a time: 66 settings. Takes ten to twenty times as long as the recordings; a window that "
    "several settings share is computed once. Goes on where it was when it is run again."
)
SweepOption = Annotated[bool, typer.Option("--sweep", help=SWEEP_HELP)]
OutOption = Annotated[
    Path,
    typer.Option("--out", metavar="FILE.jsonl", help="Where --sweep keeps its results, to go on with them."),
]
DEFAULT_OUT = Path("sweep.jsonl")
BlockOption = Annotated[
    int, typer.Option("--block-ms", min=10, max=1000, help="Length of the blocks in which audio arrives, in ms.")
]


def evaluate(
    ctx: typer.Context,
    manifests: Annotated[
        list[Path],
        typer.Argument(
            metavar="MANIFEST...",
            help='JSON lines: {"audio": PATH, "text": TRANSCRIPT}. Lines of "kind" noise or music need no text; lines '
            "of kind rir (room impulse responses) are skipped.",
        ),
    ],
    model: ModelOption = None,
    language: LanguageOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = Device.auto,
    latency: LatencyOption = Latency.balanced,
    commit: CommitOption = Commit.utterance,
    endpoint_ms: EndpointOption = None,
    lm: LmOption = None,
    hotword: HotwordOption = None,
    stability: StabilityOption = Stability.medium,
    limit: LimitOption = None,
    folds: FoldOption = None,
    corpora: CorpusOption = None,
    alignments: AlignmentsOption = None,
    splits: SplitOption = None,
    join: JoinOption = None,
    gains: GainOption = None,
    minutes: MinutesOption = None,
    wall: WallOption = False,
    url: UrlOption = None,
    against: AgainstOption = None,
    whisper_model: WhisperModelOption = None,
    as_json: JsonOption = False,
    report: ReportOption = None,
    sweep: SweepOption = False,
    out: OutOption = DEFAULT_OUT,
    seed: SeedOption = 0,
    block_ms: BlockOption = 100,
) -> None:
    """Measure errors, delays and stability: plays recordings to the engine as if they were spoken now.

    The clock is virtual: computing takes its real time, waiting for audio takes none. An hour of audio takes minutes.

    Delays of words are measured against word timings (--alignments).
    """
    from earshot_asr.client.evaluate.evaluate import evaluate as run
    from earshot_asr.client.evaluate.manifest import Selection
    from earshot_asr.client.evaluate.options import Options

    if url is not None and not wall:
        raise typer.BadParameter("--url needs --wall: only --wall uses a server")
    if sweep and (wall or against):
        raise typer.BadParameter("--sweep can't be used with --wall or --against")
    if not sweep and _given(ctx, "out"):
        raise typer.BadParameter("--out needs --sweep: only --sweep keeps results")
    options = Options(
        model=model,
        language=language,
        revision=revision,
        device=device.value,
        latency=latency.value,
        commit=commit.value,
        endpoint_ms=endpoint_ms,
        lm=lm,
        hotwords=hotwords(hotword),
        stability=stability.value,
        selection=Selection(
            folds=folds or (),
            splits=splits or (),
            corpora=corpora or (),
            limit=limit,
            gains=gains or (),
            minutes=minutes,
        ),
        alignments=alignments,
        join=join or (),
        wall=wall,
        url=url,
        against=[peer.value for peer in against or ()],
        whisper_model=whisper_model,
        seed=seed,
        block_ms=block_ms,
    )
    shown: dict[str, Any] = {
        "command": shlex.join(["earshot", *sys.argv[1:]]),
        "as_data": as_json,
        "report": report,
        "stdout": Console(),
        "stderr": Console(stderr=True),
    }
    if not sweep:
        raise typer.Exit(run(manifests, options, **shown))
    from earshot_asr.client.evaluate.sweep.grid import grid
    from earshot_asr.client.evaluate.sweep.run import sweep as run_sweep

    settings = grid(
        [options.latency] if _given(ctx, "latency") else (),
        [options.commit] if _given(ctx, "commit") else (),
        [options.stability] if _given(ctx, "stability") else (),
    )
    raise typer.Exit(run_sweep(manifests, options, settings, out=out, **shown))


def _given(ctx: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"
