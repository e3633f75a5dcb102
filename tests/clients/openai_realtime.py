"""Run by test_openai.py with OpenAI's own client: streams PCM at 24 kHz, prints each event as a line of JSON.

python openai_realtime.py BASE_URL KEY FILE SESSION    SESSION: of session.update, as JSON
"""

import asyncio
import base64
import json
import sys
from pathlib import Path

from openai import AsyncOpenAI

CHUNK_BYTES = 4800


async def main(base_url: str, key: str, file: str, session: str) -> None:
    """Commits once, at the end."""
    audio = Path(file).read_bytes()
    client = AsyncOpenAI(base_url=base_url, api_key=key)
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        await connection.session.update(session=json.loads(session))
        buffer = connection.input_audio_buffer
        for at in range(0, len(audio), CHUNK_BYTES):
            await buffer.append(audio=base64.b64encode(audio[at : at + CHUNK_BYTES]).decode())
        await buffer.commit()
        await buffer.clear()  # answered when all that came before it is
        async for event in connection:
            print(event.model_dump_json(), flush=True)
            if event.type == "input_audio_buffer.cleared":
                return


asyncio.run(main(*sys.argv[1:]))
