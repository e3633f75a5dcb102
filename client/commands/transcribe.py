"""`earshot transcribe`: files to transcripts, without a server."""

import sys
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from earshot_asr.client.options import (
    CAPTIONS,
    LONGEST_GAP_SECONDS,
    CaseOption,
    ChannelsOption,
    Commit,
    CommitOption,
    Device,
    DeviceOption,
    EncodingOption,
    EndpointOption,
    Format,
    FormatOption,
    HotwordOption,
    LanguageOption,
    Latency,
    LatencyOption,
    LmOption,
    LongestGapOption,
    ModelOption,
    RateOption,
    RevisionOption,
    TrackOption,
    hotwords,
    is_cased,
    raw_format,
)

EXAMPLES = """Examples:

  earshot transcribe talk.opus

  earshot transcribe --language de vortrag.opus

  earshot transcribe --format srt --out-dir captions videos/

  earshot transcribe --format json *.flac > transcripts.jsonl

  earshot transcribe --model ./my-model --device cuda --whole talk.wav

  earshot transcribe --encoding mulaw --rate 8000 call.ul

  earshot transcribe --hotword Earshot --hotword "Ada Lovelace=2" talk.flac

  earshot transcribe --channel each call.wav

  curl https://example.com/talk.mp3 | earshot transcribe -
"""


def _channel(value: str) -> str:
    if value in ("mix", "each") or (value.isdecimal() and int(value) >= 1):
        return value
    raise typer.BadParameter(f"{value} is no channel; it must be mix, each or a number from 1 on")


def transcribe(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Audio files, or video files with sound; -: standard input. With --out-dir also folders.",
        ),
    ],
    model: ModelOption = None,
    language: LanguageOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = Device.auto,
    latency: LatencyOption = Latency.balanced,
    lm: LmOption = None,
    hotword: HotwordOption = None,
    commit: CommitOption = Commit.utterance,
    endpoint_ms: EndpointOption = None,
    format: FormatOption = Format.text,
    case: CaseOption = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="One forward pass over each whole file, without streaming.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", hidden=True)] = False,
    encoding: EncodingOption = None,
    rate: RateOption = None,
    channels: ChannelsOption = None,
    channel: Annotated[
        str,
        typer.Option(
            "--channel",
            metavar="N|mix|each",
            callback=_channel,
            help="Channel to transcribe; mix: all as one; each: one transcript for each channel.",
        ),
    ] = "mix",
    track: TrackOption = None,
    longest_gap: LongestGapOption = LONGEST_GAP_SECONDS,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out-dir",
            metavar="FOLDER",
            help="Write a file for each recording there, instead of standard output. FILE may be a folder then: its "
            "recordings keep their places in it. What is there already, and newer than its recording, is left.",
            show_default="standard output",
        ),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, max=64, metavar="N", help="Recordings at once, with --out-dir.")
    ] = 4,
) -> None:
    """Transcribe files in this process, with the streaming engine of the server.

    --encoding, --rate and --channels make it read all files as raw audio. Files named .raw, .pcm or .s16 always are.

    A file that is cut off, damaged or can't be read is named on standard error, and the exit status is 1.
    """
    from earshot_asr.client.transcribe import transcribe as run

    if offline:
        print("earshot: --offline is called --whole now; the old name goes with the next version", file=sys.stderr)
    status = run(
        files,
        model=model,
        language=language,
        revision=revision,
        device=device,
        latency=latency,
        lm=lm,
        hotwords=hotwords(hotword),
        commit=commit.value,
        endpoint_ms=endpoint_ms,
        format=format,
        cased=is_cased(case, captions=format in CAPTIONS),
        whole=whole or offline,
        raw=raw_format(encoding, rate, channels),
        track=track,
        channel=int(channel) if channel.isdecimal() else cast(Literal["mix", "each"], channel),
        longest_gap=longest_gap,
        out_dir=out_dir,
        jobs=jobs,
    )
    raise typer.Exit(status)
