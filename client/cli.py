"""The command `earshot`. What is heavy is imported by the commands that need it, so that `--help` comes at once."""

import asyncio
import os
import sys
from contextlib import nullcontext, suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from earshot_asr.engine.errors import EarshotError

app = typer.Typer(
    name="earshot",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Try it: [bold]earshot demo[/]. Every command explains itself: [bold]earshot stream --help[/].",
)

INTERRUPTED = 130
"""Exit status of a shell's command that Ctrl-C has ended."""
DEFAULT_URL = "ws://127.0.0.1:8765"
RETRY_SECONDS = 300.0


class Latency(StrEnum):
    """Presets of engine.config.StreamConfig."""

    low = "low"
    balanced = "balanced"
    accurate = "accurate"


class Commit(StrEnum):
    """What is committed."""

    utterance = "utterance"
    hop = "hop"


class Device(StrEnum):
    """What computes."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Encoding(StrEnum):
    """Those of engine.sources.RawFormat."""

    pcm_s16le = "pcm_s16le"
    pcm_f32le = "pcm_f32le"
    mulaw = "mulaw"
    alaw = "alaw"


class Format(StrEnum):
    """Those of client.captions.writer."""

    text = "text"
    json = "json"
    srt = "srt"
    vtt = "vtt"


class PeerName(StrEnum):
    """What `evaluate` compares with."""

    transformers = "transformers"
    pocketsphinx = "pocketsphinx"
    whisper = "whisper"


class LogFormat(StrEnum):
    """Those of server.logs."""

    text = "text"
    json = "json"


LIMIT: dict[str, Any] = {"rich_help_panel": "Limits"}
CLIPS: dict[str, Any] = {"rich_help_panel": "Which recordings"}
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="DIR|HUB_ID",
        help="A checkpoint's folder, or its name on the hub.",
        show_default="the bundled one",
    ),
]
RevisionOption = Annotated[
    str | None,
    typer.Option("--revision", help="Of a model on the hub: branch, tag or commit.", show_default="the newest"),
]
DeviceOption = Annotated[Device, typer.Option("--device", help="What computes; auto: a GPU if there is one.")]
LatencyOption = Annotated[Latency, typer.Option("--latency", help="How soon words come, against how right they are.")]
CommitOption = Annotated[
    Commit,
    typer.Option("--commit", help="utterance: finals as good as offline; hop: what is stable is never taken back."),
]
FormatOption = Annotated[Format, typer.Option("--format", help="What is written to standard output.")]
RetryOption = Annotated[
    float,
    typer.Option(
        "--retry", min=0, metavar="SECONDS", help="How long to look for a server when one is lost; 0: not at all."
    ),
]


def main() -> None:
    """Runs the command. What a user can mend is one line on standard error, and exit status 1; 2 for wrong usage."""
    try:
        app()
    except EarshotError as e:
        print(f"earshot: {e}", file=sys.stderr)
        sys.exit(1)
    except OSError as e:  # of standard output: what is read, and sockets, have errors of their own
        print(f"earshot: can't write: {e.strerror or e}", file=sys.stderr)
        with suppress(OSError):  # else Python tries once more, and says so at length
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"earshot {version('earshot-asr')}")
        raise typer.Exit


@app.callback()
def earshot(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Live captions: streaming speech recognition with wav2vec 2.0, w2v-BERT and Whisper's encoders.

    Text comes while the sentence is still being said, and is final a moment after it ends.
    """


@app.command(epilog="Example: earshot demo")
def demo(device: DeviceOption = Device.auto) -> None:
    """See it work: a bundled recording, spoken in real time to a server of its own.

    Shows live captions, then the transcript with its latency figures. Exit status 1 if these are not what they must be.
    """
    from earshot_asr.client.demo import demo

    if asyncio.run(demo(Console(), device)):
        raise typer.Exit(INTERRUPTED)


@app.command(
    epilog="""Examples:

  earshot serve

  earshot serve --model facebook/wav2vec2-base-960h --device cuda --latency low

  earshot serve --host 0.0.0.0 --port 80
"""
)
def serve(
    model: ModelOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = Device.auto,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 127.0.0.1: this machine alone, 0.0.0.0: all its networks.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0: any free one.")] = 8765,
    latency: LatencyOption = Latency.balanced,
    drain: Annotated[
        float, typer.Option("--drain-seconds", min=0, help="SIGTERM: how long streams may run on to their next pause.")
    ] = 30.0,
    streams: Annotated[
        int | None,
        typer.Option(min=1, help="Streams at once, at most.", show_default="what the device holds, measured", **LIMIT),
    ] = None,
    per_address: Annotated[
        int, typer.Option(min=0, help="Connections from one address, at most; 0: any number.", **LIMIT)
    ] = 64,
    message_bytes: Annotated[
        int, typer.Option(min=65_536, max=1_048_576, help="Longest message of a client.", **LIMIT)
    ] = 65_536,
    backlog: Annotated[
        float,
        typer.Option(
            "--backlog-seconds",
            min=1,
            max=30,
            help="Audio that may wait to be encoded, before reading pauses.",
            **LIMIT,
        ),
    ] = 10.0,
    handshake: Annotated[
        float, typer.Option("--handshake-seconds", min=1, help="For the HTTP headers, and then for `start`.", **LIMIT)
    ] = 10.0,
    idle: Annotated[
        float, typer.Option("--idle-seconds", min=1, help="Without a message, before a stream is closed.", **LIMIT)
    ] = 60.0,
    longest: Annotated[
        float | None,
        typer.Option("--longest-seconds", min=1, help="Audio of a stream, at most.", show_default="any", **LIMIT),
    ] = None,
    unsent: Annotated[
        int,
        typer.Option("--unsent-messages", min=64, help="Finals that may wait for a client that reads slowly.", **LIMIT),
    ] = 256,
    log_format: Annotated[LogFormat, typer.Option(help="Lines for people, or JSON for machines.")] = LogFormat.text,
    log_text: Annotated[bool, typer.Option("--log-text", help="Log what is said, too.")] = False,
) -> None:
    """Serve streams over websockets until Ctrl-C; SIGTERM lets open streams run on to their next pause.

    On the same port: /healthz, /readyz, and /metrics for Prometheus. What clients send and get: server/PROTOCOL.md.
    """
    from earshot_asr.server.app import ServerConfig, build
    from earshot_asr.server.app import serve as run
    from earshot_asr.server.limits import Limits
    from earshot_asr.server.logs import configure

    configure(as_json=log_format is LogFormat.json)
    limits = Limits(
        streams=streams,
        per_address=per_address or None,
        message_bytes=message_bytes,
        backlog_seconds=backlog,
        handshake_seconds=handshake,
        idle_seconds=idle,
        longest_seconds=longest,
        unsent_messages=unsent,
    )
    config = ServerConfig(
        model=model,
        revision=revision,
        device=device,
        host=host,
        port=port,
        latency=latency,
        limits=limits,
        drain=drain,
        log_text=log_text,
    )
    asyncio.run(run(build(config)))


@app.command(
    epilog="""Examples:

  earshot mic

  earshot mic --list-devices

  earshot mic --device "USB" --latency low

  earshot mic --url ws://captions.example:8765 > notes.txt
"""
)
def mic(
    url: Annotated[
        list[str] | None,
        typer.Option(
            "--url",
            metavar="URL",
            help="A server that hears it; more: to go on at.",
            show_default="an engine of its own",
        ),
    ] = None,
    retry: RetryOption = RETRY_SECONDS,
    microphone: Annotated[
        str | None,
        typer.Option("--device", metavar="INDEX|NAME", help="The microphone.", show_default="the system's"),
    ] = None,
    list_devices: Annotated[bool, typer.Option("--list-devices", help="Show the microphones and exit.")] = False,
    commit: CommitOption = Commit.utterance,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="DIR|HUB_ID", help="Without --url: the model.", show_default="the bundled one"),
    ] = None,
    compute: Annotated[Device, typer.Option("--compute", help="Without --url: what computes.")] = Device.auto,
    latency: Annotated[
        Latency, typer.Option("--latency", help="Without --url: how soon words come.")
    ] = Latency.balanced,
) -> None:
    """Caption what the microphone hears, live, until Ctrl-C: the last words still come.

    Finals alone go to standard output where that is no terminal.
    """
    from earshot_asr.client.live import caption, local_server
    from earshot_asr.client.microphone import Microphone, describe_devices
    from earshot_asr.client.terminal import screen

    if list_devices:
        print(describe_devices())
        return
    if url and (model is not None or compute is not Device.auto or latency is not Latency.balanced):
        raise typer.BadParameter("--model, --compute and --latency are for the server to choose, with --url")

    async def run() -> None:
        audio, console = Microphone(microphone, lambda line: print(line, file=sys.stderr)), Console()
        own = local_server(console, model=model, device=compute, latency=latency)
        async with nullcontext(url) if url else own as server:
            Console(stderr=True).print(f"listening to {audio.name}, until Ctrl-C", style="dim", markup=False)
            with screen(console, meter=True) as shown:
                partials = console.is_terminal
                await caption(server, audio, [shown], retry=retry if url else 0, commit=commit.value, partials=partials)

    asyncio.run(run())


@app.command(
    epilog="""Examples:

  earshot stream talk.opus

  earshot stream --speed 0 --format srt talk.mp4 > talk.srt
"""
)
def stream(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Audio, or a video with some.")],
    url: Annotated[
        list[str],
        typer.Option("--url", metavar="URL", help="A server, as started by `earshot serve`; more: to go on at."),
    ] = [DEFAULT_URL],  # noqa: B006
    retry: RetryOption = RETRY_SECONDS,
    speed: Annotated[
        float, typer.Option(min=0, help="1: in real time; 4: four times as fast; 0: as fast as it goes.")
    ] = 1.0,
    format: FormatOption = Format.text,
    commit: CommitOption = Commit.utterance,
) -> None:
    """Stream a file to a server as if it were spoken now, and show what comes back.

    Ctrl-C ends the audio there; the last words still come.
    """
    from earshot_asr.client.files import FileAudio
    from earshot_asr.client.live import caption
    from earshot_asr.client.terminal import screen

    async def run() -> bool:
        audio, console = FileAudio(file, speed), Console()
        partials = console.is_terminal and format is Format.text
        with screen(console, format=format, file=str(file), live=audio.live) as shown:
            interrupted = await caption(url, audio, [shown], retry=retry, commit=commit.value, partials=partials)
        if audio.damage:
            print(f"earshot: {file}: {audio.damage}", file=sys.stderr)
        return interrupted

    if asyncio.run(run()):
        raise typer.Exit(INTERRUPTED)


@app.command(
    epilog="""Examples:

  earshot transcribe talk.opus

  earshot transcribe --format json *.flac > transcripts.jsonl

  earshot transcribe --model ./my-model --device cuda --offline talk.wav

  earshot transcribe --encoding mulaw --rate 8000 call.ul
"""
)
def transcribe(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Audio, or videos with some.")],
    model: ModelOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = Device.auto,
    latency: LatencyOption = Latency.balanced,
    commit: CommitOption = Commit.utterance,
    format: FormatOption = Format.text,
    offline: Annotated[bool, typer.Option("--offline", help="One plain forward pass a file, no streaming.")] = False,
    encoding: Annotated[
        Encoding | None,
        typer.Option("--encoding", help="The files are samples without a header.", show_default="by the file"),
    ] = None,
    rate: Annotated[
        int | None, typer.Option("--rate", help="Without a header: samples a second.", show_default="16000")
    ] = None,
    channels: Annotated[
        int | None, typer.Option("--channels", help="Without a header: channels, interleaved.", show_default="1")
    ] = None,
) -> None:
    """Transcribe files in this process, with the same streaming engine and no server.

    With --encoding, --rate or --channels the files are samples without a header, as .raw, .pcm and .s16 always are.
    """
    from earshot_asr.client.transcribe import transcribe as run
    from earshot_asr.engine.sources import RawFormat

    given = {"encoding": encoding and encoding.value, "sample_rate": rate, "channels": channels}
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    status = run(
        files,
        model=model,
        revision=revision,
        device=device,
        latency=latency,
        commit=commit.value,
        format=format,
        offline=offline,
        raw=RawFormat(**chosen) if chosen else None,
    )
    raise typer.Exit(status)


@app.command(
    epilog="""Examples:

  earshot evaluate dev.jsonl --limit 20

  earshot evaluate dev.jsonl --latency low --report low.html

  earshot evaluate dev.jsonl --model ./my-model --against transformers --json > figures.json

  earshot evaluate dev.jsonl book.jsonl --join my-book --against pocketsphinx --against whisper --whisper-model DIR

  earshot evaluate noise.jsonl --split dev --gain -20 --gain 0 --gain 10 --minutes 30
"""
)
def evaluate(
    manifests: Annotated[
        list[Path],
        typer.Argument(
            metavar="MANIFEST...",
            help='JSON lines: {"audio": PATH, "text": WHAT IS SAID}. No text where "kind" is noise or music; room '
            "responses (rir) are left out.",
        ),
    ],
    model: ModelOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = Device.auto,
    latency: LatencyOption = Latency.balanced,
    commit: CommitOption = Commit.utterance,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Recordings of each corpus, at most.", show_default="all", **CLIPS)
    ] = None,
    folds: Annotated[
        list[int] | None,
        typer.Option("--fold", help="Only lines of this fold, and those without one; may be repeated.", **CLIPS),
    ] = None,
    corpora: Annotated[
        list[str] | None, typer.Option("--corpus", help="Only lines of this corpus; may be repeated.", **CLIPS)
    ] = None,
    alignments: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="When words are said.", show_default="alignments.jsonl.xz beside MANIFEST", **CLIPS
        ),
    ] = None,
    splits: Annotated[
        list[str] | None,
        typer.Option("--split", help="Only lines of this split, and those without one; may be repeated.", **CLIPS),
    ] = None,
    join: Annotated[
        list[str] | None,
        typer.Option(
            "--join",
            metavar="CORPUS",
            help="All its recordings, in order, as one long stream; may be repeated.",
            show_default="none",
            **CLIPS,
        ),
    ] = None,
    gains: Annotated[
        list[float] | None,
        typer.Option(
            "--gain",
            min=-80,
            max=40,
            metavar="DB",
            help="Where nothing is said: play it so much louder; may be repeated.",
            show_default="as it is",
            **CLIPS,
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Where nothing is said: play it again and again, from shifted starts, for as long at least.",
            show_default="once",
            **CLIPS,
        ),
    ] = None,
    wall: Annotated[
        bool, typer.Option("--wall", help="In real time over a socket, to a server of its own or --url.")
    ] = False,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="With --wall: this server.", show_default="its own")
    ] = None,
    against: Annotated[
        list[PeerName] | None,
        typer.Option(
            help="Errors of these, too: the plain pass of the same weights by transformers; PocketSphinx with its own "
            "English model; a whole Whisper by faster-whisper. May be repeated.",
            show_default="nothing",
        ),
    ] = None,
    whisper_model: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="With --against whisper: which, a folder in CTranslate2's form.", show_default="none"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.html", help="Write a page with plots, too.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws behind the intervals.")] = 0,
    block_ms: Annotated[
        int, typer.Option("--block-ms", min=10, max=1000, help="Audio that arrives together, in milliseconds.")
    ] = 100,
) -> None:
    """Judge streams: plays recordings as if they were spoken now, and measures errors, delays and stability.

    The clock is virtual: computing is real and takes the time that it takes, waiting takes none, so that an hour of
    audio takes minutes. Delays of words are measured against a forced alignment, where there is one.
    """
    import shlex

    from earshot_asr.client.evaluate.evaluate import Options
    from earshot_asr.client.evaluate.evaluate import evaluate as run
    from earshot_asr.client.evaluate.manifest import Selection

    if url is not None and not wall:
        raise typer.BadParameter("--url is for --wall: without, nothing goes over a socket")
    run(
        manifests,
        Options(
            model=model,
            revision=revision,
            device=device.value,
            latency=latency.value,
            commit=commit.value,
            choice=Selection(
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
        ),
        command=shlex.join(["earshot", *sys.argv[1:]]),
        as_data=as_json,
        report=report,
        stdout=Console(),
        stderr=Console(stderr=True),
    )


@app.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False},
)
def train(ctx: typer.Context) -> None:
    """Train a model: ctc (it writes what is said), align (when it is said), pretrain (it listens only), and more.

    Each explains itself: earshot train ctc --help. All of them: earshot train.
    """
    from earshot_asr.engine.training.__main__ import main as run

    run(ctx.args or ["--help"], prog="earshot train")
