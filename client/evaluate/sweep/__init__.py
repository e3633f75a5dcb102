"""The curve of delay against change and errors: recordings, played with many settings."""
