"""The client: streaming library, microphone, captions, evaluation, command line."""
