"""`earshot evaluate`: errors, delays and stability of streams, measured on the recordings of manifests."""
