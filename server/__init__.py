"""The websocket and HTTP server around the engine."""
