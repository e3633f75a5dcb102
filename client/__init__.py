"""Clients: the streaming library, the microphone, captions, the command line."""
