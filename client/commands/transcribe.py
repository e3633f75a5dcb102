"""`earshot transcribe`: files to transcripts, without a server."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from earshot_asr.client.options import (
    Commit,
    CommitOption,
    Device,
    DeviceOption,
    Format,
    FormatOption,
    Latency,
    LatencyOption,
    ModelOption,
    RevisionOption,
)

EXAMPLES = """Examples:

  earshot transcribe talk.opus

  earshot transcribe --format json *.flac > transcripts.jsonl

  earshot transcribe --model ./my-model --device cuda --offline talk.wav

  earshot transcribe --encoding mulaw --rate 8000 call.ul
"""


class Encoding(StrEnum):
    """Encodings of engine.sources.RawFormat."""

    pcm_s16le = "pcm_s16le"
    pcm_f32le = "pcm_f32le"
    mulaw = "mulaw"
    alaw = "alaw"


def transcribe(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Audio files, or video files with sound.")],
    model: ModelOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = Device.auto,
    latency: LatencyOption = Latency.balanced,
    commit: CommitOption = Commit.utterance,
    format: FormatOption = Format.text,
    offline: Annotated[
        bool, typer.Option("--offline", help="One forward pass over each file, without streaming.")
    ] = False,
    encoding: Annotated[
        Encoding | None,
        typer.Option(
            "--encoding", help="Encoding of raw audio: files without a header.", show_default="from the file's name"
        ),
    ] = None,
    rate: Annotated[
        int | None, typer.Option("--rate", help="Sample rate of raw audio, in Hz.", show_default="16000")
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option("--channels", help="Number of interleaved channels of raw audio.", show_default="1"),
    ] = None,
) -> None:
    """Transcribe files in this process, with the streaming engine of the server.

    --encoding, --rate and --channels make it read all files as raw audio. Files named .raw, .pcm or .s16 always are.
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
