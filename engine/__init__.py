"""The recognition engine: audio in, text out; no sockets, no sound devices."""
