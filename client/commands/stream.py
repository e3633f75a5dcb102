"""`earshot stream`: a file, sent to a server as if it were spoken now."""

import asyncio
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from earshot_asr.client.options import (
    CAPTIONS,
    INTERRUPTED_EXIT_STATUS,
    LONGEST_GAP_SECONDS,
    RETRY_SECONDS,
    CaseOption,
    CertificatesOption,
    ChannelsOption,
    EncodingOption,
    EndpointOption,
    Format,
    HotwordOption,
    LiveCommitOption,
    LiveFormatOption,
    LongestGapOption,
    PartialsOption,
    PublishOption,
    RateOption,
    RetryOption,
    SegmentsOption,
    Stability,
    StabilityOption,
    StreamLanguageOption,
    TokenOption,
    TrackOption,
    check_partials,
    hotwords,
    is_cased,
    live_commit,
    raw_format,
)

DEFAULT_URL = "ws://127.0.0.1:8765"
EXAMPLES = """Examples:

  earshot stream talk.opus

  earshot stream --speed 0 --format srt talk.mp4 > talk.srt

  ffmpeg -i rtsp://camera/1 -f wav - | earshot stream -

  earshot stream --language fr debat.opus

  EARSHOT_TOKEN=... earshot stream --url wss://captions.example:8765 talk.opus

  earshot stream --format json --partials talk.opus | jq --unbuffered .text
"""


def stream(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Audio file, or a video file with sound; -: standard input.")
    ],
    url: Annotated[
        list[str],
        typer.Option(
            "--url",
            metavar="URL",
            help="Server to send the audio to, see `earshot serve`. Repeat it to name fallback servers.",
        ),
    ] = [DEFAULT_URL],  # noqa: B006
    token: TokenOption = None,
    tls_ca: CertificatesOption = None,
    publish: PublishOption = None,
    retry: RetryOption = RETRY_SECONDS,
    language: StreamLanguageOption = None,
    speed: Annotated[
        float, typer.Option(min=0, help="1: in real time; 4: four times as fast; 0: as fast as possible.")
    ] = 1.0,
    format: LiveFormatOption = Format.text,
    partials: PartialsOption = False,
    case: CaseOption = None,
    segments: SegmentsOption = None,
    hotword: HotwordOption = None,
    commit: LiveCommitOption = None,
    endpoint_ms: EndpointOption = None,
    stability: StabilityOption = Stability.medium,
    encoding: EncodingOption = None,
    rate: RateOption = None,
    channels: ChannelsOption = None,
    channel: Annotated[
        int | None,
        typer.Option("--channel", min=1, metavar="N", help="Channel to send.", show_default="all, mixed"),
    ] = None,
    track: TrackOption = None,
    longest_gap: LongestGapOption = LONGEST_GAP_SECONDS,
) -> None:
    """Stream a file to a server as if it were spoken now, and show the captions.

    What comes through a pipe is sent as it comes; --encoding, --rate and --channels make it read raw audio. Ctrl-C ends
    the audio early; what was sent until then is still transcribed. If the file is cut off or damaged, that is told at
    the end, and the exit status is 1.
    """
    from earshot_asr.client.files import FileAudio
    from earshot_asr.client.live import caption
    from earshot_asr.client.segmented import segmented
    from earshot_asr.client.terminal import screen
    from earshot_asr.engine.text import printable

    check_partials(partials, format)

    raw = raw_format(encoding, rate, channels)
    expected = [asdict(each) for each in hotwords(hotword)]

    async def run() -> int:
        console = Console()
        captions = console.is_terminal and format is Format.text
        options: dict[str, Any] = {
            "language": language,
            "commit": live_commit(commit, captions),
            "endpoint_ms": endpoint_ms,
            "stability": stability.value,
            "hotwords": expected,
            "partials": partials or captions,
            "token": token,
            "ca_file": tls_ca,
            "publish": publish,
        }
        with FileAudio(file, speed, raw=raw, track=track, channel=channel, longest_gap=longest_gap) as audio:
            cased = is_cased(case, captions=captions or format in CAPTIONS)
            names = [each["text"] for each in expected]
            with (
                screen(console, format=format, partials=partials, live=audio.live, cased=cased, names=names) as shown,
                segmented(segments, case, names) as also,
            ):
                interrupted = await caption(url, audio, [shown, *also], retry=retry, **options)
            for line in filter(None, [*audio.notes, audio.damage]):
                print(f"earshot: {printable(str(file))}: {line}", file=sys.stderr)
            return INTERRUPTED_EXIT_STATUS if interrupted else int(bool(audio.damage))

    if status := asyncio.run(run()):
        raise typer.Exit(status)
