"""The contrastive pretraining of wav2vec 2.0 and XLSR, and what its codewords say of languages."""
