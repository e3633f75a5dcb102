"""The demo: streams a bundled recording to a local server, and checks that captions come early and are right."""

from dataclasses import dataclass
from importlib.resources import files
from statistics import median

from rich.console import Console
from rich.markup import escape

from earshot_asr.client.files import FileAudio
from earshot_asr.client.live import SampleClock, caption, local_server
from earshot_asr.client.stream import Message
from earshot_asr.client.terminal import screen
from earshot_asr.engine.audio import Pcm, Seconds
from earshot_asr.engine.config import Stability
from earshot_asr.engine.errors import EarshotError
from earshot_asr.engine.text import normalize
from earshot_asr.server.wire import FinalMessage, PartialMessage

MAX_CER_SHARE = 0.05
"""Maximum character error rate, from 0 to 1."""
HINT = (
    "The recording was read by a synthetic voice; real voices in real rooms are harder. The bundled model is small and "
    "spells words that it does not know as they sound; larger models make fewer errors: "
    "earshot serve --model facebook/wav2vec2-base-960h"
)
RECORDING_FILE, TRANSCRIPT_FILE = "demo.flac", "demo.txt"


class DemoFailed(EarshotError):
    """The demo ran, but missed its targets."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Transcript and figures of the demo.

    early           whether a partial arrived before the audio ended
    first_partial   seconds from the start of the first word to the first partial; None if there was none
    final_delays    seconds from the end of each utterance's last word to its final
    cer             character error rate against the text that was read aloud, from 0 to 1
    """

    text: str
    early: bool
    first_partial: Seconds | None
    final_delays: list[Seconds]
    cer: float

    def faults(self) -> list[str]:
        """The targets that were missed, in words."""
        faults = []
        if not self.early:
            faults.append("no partial arrived before the audio ended")
        if self.cer > MAX_CER_SHARE:
            faults.append(f"the character error rate is {self.cer:.1%}, it must be at most {MAX_CER_SHARE:.0%}")
        return faults

    def __str__(self) -> str:
        first = "none" if self.first_partial is None else f"{self.first_partial:.2f} s after the first word began"
        delays = self.final_delays or [float("nan")]
        return "\n".join(
            (
                f"first partial         {first}",
                f"finals                {median(delays):.2f} s after the last word ended (slowest {max(delays):.2f} s)",
                f"character error rate  {self.cer:.1%}",
            )
        )


class DemoObserver:
    """Records when messages arrive. A Screen."""

    def __init__(self) -> None:
        self._clock = SampleClock()
        self._first_partial: Seconds | None = None
        self._early = False
        self._finals: list[FinalMessage] = []
        self._delays: list[Seconds] = []

    def hear(self, pcm: Pcm, dropped: Seconds, now: Seconds) -> None:
        """See Screen. Repeats the check for each block, so that `early` is about the last one."""
        self._clock.hear(len(pcm), now)
        self._early = self._first_partial is not None

    def show(self, message: Message, now: Seconds) -> None:
        """See Screen."""
        match message:
            case PartialMessage(text=text) if text:
                self._first_partial = now if self._first_partial is None else self._first_partial
            case FinalMessage():
                self._finals.append(message)
                self._delays.append(self._clock.age(message.words[-1].end if message.words else message.end, now))

    def result(self, reference: str) -> DemoResult:
        """The result, given the text that was read aloud."""
        text = " ".join(final.text for final in self._finals)
        first = None
        if self._first_partial is not None and self._finals:
            words = self._finals[0].words
            first = self._clock.age(words[0].start if words else self._finals[0].start, self._first_partial)
        return DemoResult(
            text=text,
            early=self._early,
            first_partial=first,
            final_delays=self._delays,
            cer=character_error_rate(reference, text),
        )


async def demo(console: Console, device: str = "auto", stability: Stability = "medium") -> bool:
    """Streams the bundled recording in real time and shows captions and figures. Returns whether Ctrl-C ended it.

    Raises DemoFailed if the recording is missing or a figure misses its target.
    """
    data = files("earshot_asr.client") / "data"
    recording, transcript = data / RECORDING_FILE, data / TRANSCRIPT_FILE
    if not (recording.is_file() and transcript.is_file()):
        raise DemoFailed(f"{recording} or {TRANSCRIPT_FILE} beside it is missing; reinstall Earshot")
    observer = DemoObserver()
    async with local_server(console, device=device) as url:
        audio = FileAudio(str(recording))
        with screen(console, cased=True) as shown:
            if await caption(url, audio, [observer, shown], retry=0, stability=stability):
                return True
    reference = transcript.read_text(encoding="utf-8")
    result = observer.result(reference)
    read = " ".join(reference.split())
    console.print(
        f"\n[bold]Read aloud[/]\n{escape(read)}\n\n[bold]Transcript[/]\n{escape(result.text)}\n\n"
        f"[bold]Figures[/]\n{result}",
        highlight=False,
    )
    console.print(f"\n{HINT}", style="dim", highlight=False)
    if faults := result.faults():
        raise DemoFailed(f"the demo failed: {' and '.join(faults)}")
    return False


def character_error_rate(reference: str, text: str) -> float:
    """The character error rate after normalization, from 0 upwards."""
    import jiwer

    return float(jiwer.cer(normalize(reference), normalize(text)))
