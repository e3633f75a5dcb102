"""Run by test_deepgram.py with Deepgram's SDK, version 4: streams PCM at 16 kHz, prints each message as a line of JSON.

python deepgram_4.py PORT KEY FILE
"""

import sys
import threading
from pathlib import Path
from typing import Any

from deepgram import DeepgramClient, DeepgramClientOptions, LiveOptions, LiveTranscriptionEvents

CHUNK_BYTES = 3200
MESSAGES = ("Transcript", "Metadata", "SpeechStarted", "UtteranceEnd", "Error", "Unhandled")
PATIENCE_SECONDS = 60


def main(port: str, key: str, file: str) -> None:
    """finish() waits half a second for text, however slow the machine: a Finalize before it waits for all of it."""
    config = DeepgramClientOptions(url=f"http://127.0.0.1:{port}", options={"keepalive": "true"})
    connection = DeepgramClient(key, config).listen.websocket.v("1")
    finalized = threading.Event()

    def heard(_: object, **message: Any) -> None:
        (told,) = message.values()
        print(told.to_json(), flush=True)
        if getattr(told, "from_finalize", False):
            finalized.set()

    for name in MESSAGES:
        connection.on(getattr(LiveTranscriptionEvents, name), heard)
    options = LiveOptions(
        model="nova-2",
        language="en-US",
        encoding="linear16",
        channels=1,
        sample_rate=16_000,
        interim_results=True,
        utterance_end_ms="1000",
        vad_events=True,
        punctuate=True,
    )
    if not connection.start(options):
        sys.exit("it could not connect")
    audio = Path(file).read_bytes()
    for at in range(0, len(audio), CHUNK_BYTES):
        connection.send(audio[at : at + CHUNK_BYTES])
    connection.finalize()
    finalized.wait(PATIENCE_SECONDS)
    connection.finish()


main(*sys.argv[1:])
