"""Training: CTC on recordings with texts, forced alignment, wav2vec 2.0's pretraining.

Imports no packages but torch, numpy, safetensors, soundfile and soxr.
"""
