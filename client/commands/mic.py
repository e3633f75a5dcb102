"""`earshot mic`: live captions of a microphone."""

import asyncio
import sys
from contextlib import nullcontext
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console

from earshot_asr.client.options import (
    CAPTIONS,
    LANGUAGE_HELP,
    MODEL_HELP,
    RETRY_SECONDS,
    CaseOption,
    CertificatesOption,
    Device,
    EndpointOption,
    Format,
    HotwordOption,
    Latency,
    LiveCommitOption,
    LiveFormatOption,
    LmOption,
    PartialsOption,
    PublishOption,
    RetryOption,
    SegmentsOption,
    Stability,
    StabilityOption,
    TokenOption,
    check_partials,
    hotwords,
    is_cased,
    live_commit,
)

EXAMPLES = """Examples:

  earshot mic

  earshot mic --list-devices

  earshot mic --language de

  earshot mic --device "USB" --latency low

  earshot mic --url ws://captions.example:8765 > notes.txt

  earshot mic --format vtt > meeting.vtt

  earshot mic --format json --partials | my-program
"""


UrlOption = Annotated[
    list[str] | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Server to send the audio to. Repeat it to name fallback servers.",
        show_default="a local server, started for this command",
    ),
]
MicrophoneOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="INDEX|NAME",
        help="Microphone: its index, or a part of its name.",
        show_default="the system's default",
    ),
]
ListDevicesOption = Annotated[bool, typer.Option("--list-devices", help="List the microphones and exit.")]
LocalModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME|HUB_ID|DIR",
        help=f"{MODEL_HELP} Not with --url.",
        show_default="the recommended one for --language, or the bundled one",
    ),
]
SpokenOption = Annotated[
    str | None,
    typer.Option(
        "--language",
        metavar="LANGUAGE",
        help=f"{LANGUAGE_HELP} With --url, the server's model must have it.",
        show_default="the model's",
    ),
]
LocalRevisionOption = Annotated[
    str | None,
    typer.Option(
        "--revision",
        help="Branch, tag or commit of a model on the hub. Not with --url.",
        show_default="the one that was pulled, else the newest",
    ),
]
LocalDeviceOption = Annotated[Device, typer.Option("--compute", help="Device that runs the model. Not with --url.")]
LocalLatencyOption = Annotated[
    Latency,
    typer.Option("--latency", help="low shows words soonest; accurate makes the fewest errors. Not with --url."),
]


def mic(
    url: UrlOption = None,
    token: TokenOption = None,
    tls_ca: CertificatesOption = None,
    publish: PublishOption = None,
    retry: RetryOption = RETRY_SECONDS,
    language: SpokenOption = None,
    microphone: MicrophoneOption = None,
    list_devices: ListDevicesOption = False,
    format: LiveFormatOption = Format.text,
    partials: PartialsOption = False,
    case: CaseOption = None,
    segments: SegmentsOption = None,
    lm: LmOption = None,
    hotword: HotwordOption = None,
    commit: LiveCommitOption = None,
    endpoint_ms: EndpointOption = None,
    stability: StabilityOption = Stability.medium,
    model: LocalModelOption = None,
    revision: LocalRevisionOption = None,
    compute: LocalDeviceOption = Device.auto,
    latency: LocalLatencyOption = Latency.balanced,
) -> None:
    """Show live captions of the microphone until Ctrl-C. The last words are still transcribed.

    If standard output is not a terminal, or with another --format, it gets each utterance as soon as it is final.
    """
    from earshot_asr.client.aside import Aside
    from earshot_asr.client.live import caption, local_server
    from earshot_asr.client.microphone import Microphone, describe_devices
    from earshot_asr.client.segmented import segmented
    from earshot_asr.client.terminal import screen

    check_partials(partials, format)
    expected = [asdict(each) for each in hotwords(hotword)]
    chosen = any(each is not None for each in (model, revision, lm))
    chosen = chosen or compute is not Device.auto or latency is not Latency.balanced
    if url and chosen:
        raise typer.BadParameter(
            "--model, --revision, --lm, --compute and --latency can't be used with --url: the server chooses them"
        )

    if publish and not url:
        raise typer.BadParameter("--publish needs --url: the server whose viewers read along")

    async def run() -> None:
        audio, console = Microphone(microphone, lambda line: print(line, file=sys.stderr)), Console()
        named = {"model": model, "language": language, "revision": revision, "lm": lm}
        local = local_server(console, device=compute, latency=latency, **named)
        async with nullcontext(url) if url else local as server:
            Console(stderr=True).print(f"listening to {audio.name}, until Ctrl-C", style="dim", markup=False)
            captions = console.is_terminal and format is Format.text
            cased = is_cased(case, captions=captions or format in CAPTIONS)
            names = [each["text"] for each in expected]
            with screen(console, format=format, partials=partials, meter=True, cased=cased, names=names) as shown:
                options: dict[str, Any] = {
                    "language": language if url else None,
                    "commit": live_commit(commit, captions),
                    "endpoint_ms": endpoint_ms,
                    "hotwords": expected,
                    "stability": stability.value,
                    "partials": partials or captions,
                    "token": token,
                    "ca_file": tls_ca,
                    "publish": publish,
                }
                with segmented(segments, case, names) as also:
                    await caption(server, audio, [shown, *also], retry=retry if url else 0, **options)

    with Aside():
        if list_devices:
            print(describe_devices())
        else:
            asyncio.run(run())
