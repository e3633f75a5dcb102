"""Run by test_openai.py with OpenAI's own client: transcribes a file in each way, prints the results as JSON.

python openai_rest.py BASE_URL KEY FILE
"""

import json
import sys
from pathlib import Path

from openai import BadRequestError, OpenAI


def main(base_url: str, key: str, path: str) -> None:
    """Everything is done through the typed client."""
    client = OpenAI(base_url=base_url, api_key=key)
    file = Path(path)
    create = client.audio.transcriptions.create
    results = {name: create(file=file, model="whisper-1", response_format=name) for name in ("text", "srt", "vtt")}
    results["json"] = create(file=file, model="gpt-4o-transcribe", language="en", include=["logprobs"]).model_dump()
    granularities = ["word", "segment"]
    results["verbose_json"] = create(
        file=file, model="whisper-1", response_format="verbose_json", timestamp_granularities=granularities
    ).model_dump()
    streamed = create(file=file, model="gpt-4o-transcribe", stream=True)
    results["stream"] = [event.model_dump() for event in streamed]
    results["models"] = [model.id for model in client.models.list()]
    try:
        client.audio.translations.create(file=file, model="whisper-1")
    except BadRequestError as e:
        results["translation"] = e.body
    print(json.dumps(results))


main(*sys.argv[1:])
