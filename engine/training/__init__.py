"""Training: CTC on manifests, forced alignment, XLSR's contrastive pretraining.

Needs torch, numpy, safetensors and soundfile; no more of what the rest needs.
"""
