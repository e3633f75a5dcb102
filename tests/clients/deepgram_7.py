"""Run by test_deepgram.py with Deepgram's SDK, version 7: streams PCM at 16 kHz, prints each message as a line of JSON.

python deepgram_7.py PORT KEY FILE
"""

import sys
import threading
from pathlib import Path

from deepgram import DeepgramClient
from deepgram.core.events import EventType
from deepgram.environment import DeepgramClientEnvironment

CHUNK_BYTES = 3200


def main(port: str, key: str, file: str) -> None:
    """Finalizes in the middle, before anything else, and closes at the end."""
    ws, http = f"ws://127.0.0.1:{port}", f"http://127.0.0.1:{port}"
    environment = DeepgramClientEnvironment(base=http, production=ws, agent=ws, agent_rest=http)
    client = DeepgramClient(api_key=key, environment=environment)
    audio = Path(file).read_bytes()
    options = {"model": "nova-3", "language": "en-US", "encoding": "linear16", "sample_rate": 16_000}
    more = {"interim_results": "true", "vad_events": "true", "utterance_end_ms": 1000, "smart_format": "true"}
    with client.listen.v1.connect(**options, **more, keyterm=["earshot", "captions"]) as connection:
        connection.on(EventType.MESSAGE, lambda message: print(message.model_dump_json(), flush=True))
        connection.on(EventType.ERROR, lambda error: sys.exit(f"an error: {error!r}"))
        connection.send_finalize()
        listening = threading.Thread(target=connection.start_listening)
        listening.start()
        for at in range(0, len(audio), CHUNK_BYTES):
            connection.send_media(audio[at : at + CHUNK_BYTES])
        connection.send_keep_alive()
        connection.send_close_stream()
        listening.join()


main(*sys.argv[1:])
