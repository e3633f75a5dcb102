"""Option types that several commands share. Loads no other module of Earshot, so that `--help` is fast."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from earshot_asr.engine.decoder import Hotword
    from earshot_asr.engine.sources import RawFormat

INTERRUPTED_EXIT_STATUS = 130
"""Exit status that shells use for a command that Ctrl-C ended."""
RETRY_SECONDS = 300.0
"""Default of --retry; the same as client.stream.RETRY_SECONDS."""

LEAST_ENDPOINT_MS, MOST_ENDPOINT_MS = 100, 5000
"""Range of --endpoint-ms; the same as in engine.config."""


class Latency(StrEnum):
    """Names of the presets of engine.config.StreamConfig."""

    low = "low"
    balanced = "balanced"
    accurate = "accurate"


class Commit(StrEnum):
    """Values of engine.config.Commit."""

    utterance = "utterance"
    hop = "hop"


class Stability(StrEnum):
    """Values of engine.config.Stability."""

    low = "low"
    medium = "medium"
    high = "high"


class Device(StrEnum):
    """Devices that can run the model."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Format(StrEnum):
    """Formats of engine.captions.writer."""

    text = "text"
    json = "json"
    srt = "srt"
    vtt = "vtt"


CAPTIONS = (Format.srt, Format.vtt)
"""Formats of captions."""

MODEL_HELP = "Name of a model in `earshot models list`, its name on the hub, or the folder of a checkpoint."
LANGUAGE_HELP = (
    "Language that is spoken: de, deu or German. Takes the model that is recommended for it; with --model, the weights "
    "that a model of several languages, like MMS, has for it."
)
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME|HUB_ID|DIR",
        help=MODEL_HELP,
        show_default="the recommended one for --language, or the bundled one",
    ),
]
LanguageOption = Annotated[
    str | None,
    typer.Option("--language", metavar="LANGUAGE", help=LANGUAGE_HELP, show_default="the model's"),
]
RevisionOption = Annotated[
    str | None,
    typer.Option(
        "--revision",
        help="Branch, tag or commit of a model on the hub.",
        show_default="the one that was pulled, else the newest",
    ),
]
DeviceOption = Annotated[
    Device, typer.Option("--device", help="Device that runs the model; auto: a GPU if there is one, else the CPU.")
]
LatencyOption = Annotated[
    Latency, typer.Option("--latency", help="low shows words soonest; accurate makes the fewest errors.")
]
COMMIT_HELP = (
    "When text becomes final. utterance: each utterance is decoded once more as a whole when it ends, which is most "
    "accurate. hop: text becomes final every 0.24 to 0.64 s of speech, depending on --latency, from the third second "
    "of an utterance on, and text marked as stable never changes."
)
CommitOption = Annotated[Commit, typer.Option("--commit", help=COMMIT_HELP)]
LiveCommitOption = Annotated[
    Commit | None,
    typer.Option("--commit", help=COMMIT_HELP, show_default="hop for live captions in a terminal, else utterance"),
]
EndpointOption = Annotated[
    int | None,
    typer.Option(
        "--endpoint-ms",
        min=LEAST_ENDPOINT_MS,
        max=MOST_ENDPOINT_MS,
        metavar="MS",
        help="Silence that ends an utterance and makes its text final, in milliseconds.",
        show_default="440, 520 or 800, depending on --latency",
    ),
]
LmOption = Annotated[
    str | None,
    typer.Option(
        "--lm",
        metavar="FILE|DIR|none",
        help="Language model of words: an ARPA or KenLM file, or a `language_model` folder; none: no language model.",
        show_default="the model's own, if it has one",
    ),
]
HotwordOption = Annotated[
    list[str] | None,
    typer.Option(
        "--hotword",
        metavar="TEXT[=WEIGHT]",
        help="Name, word or phrase to listen for. WEIGHT: how much likelier each of its words is, in powers of ten. "
        "Repeatable.",
        show_default="none; WEIGHT: 3",
    ),
]


def hotwords(values: list[str] | None) -> "tuple[Hotword, ...]":
    """What --hotword names. Raises ConfigError for one that is not understood."""
    from earshot_asr.engine.decoder import Hotword
    from earshot_asr.engine.errors import ConfigError, shown

    def one(value: str) -> Hotword:
        text, equals, weight = value.rpartition("=")
        try:
            return Hotword(text.strip(), float(weight)) if equals else Hotword(value.strip())
        except ValueError:
            raise ConfigError(f"--hotword {shown(value)}: the weight after = must be a number") from None

    return tuple(map(one, values or ()))


StabilityOption = Annotated[
    Stability,
    typer.Option(
        "--stability",
        help="low shows words as soon as they are heard, cut off or not; high shows them later and changes the fewest. "
        "What is final is the same.",
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", help="Format of the transcript on standard output.")]


class Case(StrEnum):
    """How text is written."""

    model = "model"
    sentence = "sentence"


CaseOption = Annotated[
    Case | None,
    typer.Option(
        "--case",
        help="model: letters as the model writes them, often capitals only. sentence: as people write; names as they "
        "are spelled in --hotword.",
        show_default="sentence for captions (a terminal, srt, vtt), else model",
    ),
]


def is_cased(case: Case | None, *, captions: bool) -> bool:
    """Whether text is to be written as people do: if that was asked for, else for captions."""
    return case is Case.sentence if case else captions


class Encoding(StrEnum):
    """Encodings of engine.sources.RawFormat."""

    pcm_s16le = "pcm_s16le"
    pcm_f32le = "pcm_f32le"
    mulaw = "mulaw"
    alaw = "alaw"


EncodingOption = Annotated[
    Encoding | None,
    typer.Option(
        "--encoding", help="Encoding of raw audio: files without a header.", show_default="from the file's name"
    ),
]
RateOption = Annotated[
    int | None, typer.Option("--rate", help="Sample rate of raw audio, in Hz.", show_default="16000")
]
ChannelsOption = Annotated[
    int | None, typer.Option("--channels", help="Number of interleaved channels of raw audio.", show_default="1")
]


def raw_format(encoding: Encoding | None, rate: int | None, channels: int | None) -> "RawFormat | None":
    """The format of raw audio if any of it was given. Raises AudioError if it isn't understood."""
    from earshot_asr.engine.sources import RawFormat

    given = {"encoding": encoding and encoding.value, "sample_rate": rate, "channels": channels}
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return RawFormat(**chosen) if chosen else None


TrackOption = Annotated[
    int | None,
    typer.Option(
        "--track", min=1, metavar="N", help="Audio track to read.", show_default="the one that players choose"
    ),
]
LongestGapOption = Annotated[
    float,
    typer.Option(
        "--longest-gap",
        min=0,
        metavar="SECONDS",
        help="Longest silence that a gap in the times of a file may become.",
    ),
]
LONGEST_GAP_SECONDS = 3600.0
"""Default of --longest-gap; the same as engine.sources.LONGEST_GAP_SECONDS."""
LiveFormatOption = Annotated[
    Format,
    typer.Option(
        "--format",
        help="Format of the text on standard output, where it is written as soon as it is final. json: a line for each "
        "utterance; text in a terminal: live captions.",
    ),
]
SegmentsOption = Annotated[
    Path | None,
    typer.Option(
        "--segments",
        metavar="FOLDER",
        help="Also keep a playlist of WebVTT there, captions.m3u8, of a segment every 6 s, which players of HLS poll.",
        show_default="none",
    ),
]
PartialsOption = Annotated[
    bool, typer.Option("--partials", help="With --format json: lines for text that may still change, too.")
]
StreamLanguageOption = Annotated[
    str | None,
    typer.Option(
        "--language",
        help="Language that is spoken, by its code or name: fra, fr, French. The server's model must have it.",
        show_default="the server's",
    ),
]
RetryOption = Annotated[
    float,
    typer.Option(
        "--retry",
        min=0,
        metavar="SECONDS",
        help="Seconds to try to connect, at the start and after the connection is lost; 0: only once.",
    ),
]


TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="EARSHOT_TOKEN",
        help="Token that the server wants. Others can see what is on a command line: the variable is safer.",
        show_default="none",
    ),
]
PublishOption = Annotated[
    str | None,
    typer.Option(
        "--publish",
        metavar="CHANNEL",
        help="Let others read along, in this channel of the server: /?watch=CHANNEL in a browser.",
        show_default="nobody",
    ),
]
CertificatesOption = Annotated[
    Path | None,
    typer.Option(
        "--tls-ca",
        metavar="FILE",
        help="Certificates (PEM) that are trusted for wss://, as that of a server that signed its own.",
        show_default="those of the system",
    ),
]


def live_commit(commit: Commit | None, captions: bool) -> str:
    """When text becomes final: as was asked for, else as suits live captions, or text that is wanted once and right.

    With `hop` a third as many words of live captions change, and one word in a hundred more is wrong.
    """
    return (commit or (Commit.hop if captions else Commit.utterance)).value


def check_partials(partials: bool, format: Format) -> None:
    """Raises BadParameter if partials are wanted in a format that has none."""
    if partials and format is not Format.json:
        raise typer.BadParameter("--partials needs --format json: the other formats hold text that is final")
