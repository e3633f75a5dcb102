"""OpenAI's REST API for transcription, on a port of its own: the one part of the server that needs aiohttp."""
