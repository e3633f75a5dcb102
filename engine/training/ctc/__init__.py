"""CTC training: the command, the model with its losses, the evaluation while it trains."""
