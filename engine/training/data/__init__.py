"""Recordings and their texts: reading, aligning, drawing batches, augmenting the sound."""
