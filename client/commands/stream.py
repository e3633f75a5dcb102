"""`earshot stream`: a file, sent to a server as if it were spoken now."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from earshot_asr.client.options import (
    INTERRUPTED_EXIT_STATUS,
    RETRY_SECONDS,
    Commit,
    CommitOption,
    Format,
    LiveFormatOption,
    PartialsOption,
    RetryOption,
    check_partials,
)

DEFAULT_URL = "ws://127.0.0.1:8765"
EXAMPLES = """Examples:

  earshot stream talk.opus

  earshot stream --speed 0 --format srt talk.mp4 > talk.srt

  earshot stream --format json --partials talk.opus | jq --unbuffered .text
"""


def stream(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Audio file, or a video file with sound.")],
    url: Annotated[
        list[str],
        typer.Option(
            "--url",
            metavar="URL",
            help="Server to send the audio to, see `earshot serve`. Repeat it to name fallback servers.",
        ),
    ] = [DEFAULT_URL],  # noqa: B006
    retry: RetryOption = RETRY_SECONDS,
    speed: Annotated[
        float, typer.Option(min=0, help="1: in real time; 4: four times as fast; 0: as fast as possible.")
    ] = 1.0,
    format: LiveFormatOption = Format.text,
    partials: PartialsOption = False,
    commit: CommitOption = Commit.utterance,
) -> None:
    """Stream a file to a server as if it were spoken now, and show the captions.

    Ctrl-C ends the audio early; what was sent until then is still transcribed.
    """
    from earshot_asr.client.files import FileAudio
    from earshot_asr.client.live import caption
    from earshot_asr.client.terminal import screen

    check_partials(partials, format)

    async def run() -> bool:
        audio, console = FileAudio(file, speed), Console()
        wanted = partials or (console.is_terminal and format is Format.text)
        with screen(console, format=format, partials=partials, live=audio.live) as shown:
            interrupted = await caption(url, audio, [shown], retry=retry, commit=commit.value, partials=wanted)
        if audio.damage:
            print(f"earshot: {file}: {audio.damage}", file=sys.stderr)
        return interrupted

    if asyncio.run(run()):
        raise typer.Exit(INTERRUPTED_EXIT_STATUS)
