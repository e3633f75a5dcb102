"""Notices when pretraining does not learn: the codebook has collapsed, or the task is too easy or too hard."""

from earshot_asr.engine.training.pretrain.contrastive import ContrastiveDims

LEAST_SHARE = 0.03
"""Share of codewords in use below which the codebook has collapsed."""
PATIENCE_SHARE, PATIENCE_LOOKS = 0.05, 4
"""The share of the schedule, and the number of looks, that something must be wrong for before there is a warning."""


class Watch:
    """Looks at accuracy and perplexity, again and again, and says once what is wrong with them."""

    def __init__(self, dims: ContrastiveDims) -> None:
        self.least = max(LEAST_SHARE * dims.codewords, 1.5 * dims.num_codevector_groups)
        self.codewords, self.chance = dims.codewords, 1 / (1 + dims.num_negatives)
        self._since: dict[str, tuple[float, int]] = {}
        self._said: set[str] = set()

    def look(self, share: float, accuracy: float, perplexity: float) -> str | None:
        """What is wrong and what to try; None if nothing is, or if it was said before.

        share       of the schedule that is done
        accuracy    share of the masked frames whose true codeword came first
        perplexity  codewords in use
        """
        wrong = self._wrong(accuracy, perplexity)
        self._since = {what: self._since.get(what, (share, 0)) for what in wrong}
        self._since = {what: (began, looks + 1) for what, (began, looks) in self._since.items()}
        for what, (began, looks) in self._since.items():
            if share - began >= PATIENCE_SHARE and looks >= PATIENCE_LOOKS and what not in self._said:
                self._said.add(what)
                return wrong[what]
        return None

    @property
    def troubled(self) -> bool:
        """Whether something that was said is still wrong."""
        return not self._said.isdisjoint(self._since)

    def _wrong(self, accuracy: float, perplexity: float) -> dict[str, str]:
        """What is wrong at the moment, short name -> message that says what may help."""
        wrong = {}
        if perplexity < self.least:
            wrong["collapsed"] = (
                f"the codebook has collapsed: {perplexity:.1f} of {self.codewords} codewords are in use; try a larger "
                "--diversity, a higher --max-gumbel-temperature or lower learning rates"
            )
        if accuracy > 0.999:
            wrong["trivial"] = (
                f"the right codeword is always found ({accuracy:.1%}): it differs from its distractors by something "
                "other than speech, or all codewords are the same; try longer crops (--seconds), a larger --diversity"
            )
        elif accuracy < 1.5 * self.chance:
            wrong["chance"] = (
                f"the right codeword is found at chance ({accuracy:.1%}): nothing is learned; try another --adamw and "
                "--muon, a longer --warmup, or a smaller --penalty"
            )
        return wrong
