"""The judge: figures of streams over manifests of recordings."""
