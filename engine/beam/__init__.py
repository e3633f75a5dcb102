"""CTC beam search over prefixes, with a language model of words and hotwords.

Hannun et al. 2014, "First-pass large vocabulary continuous speech recognition using bi-directional recurrent DNNs",
algorithm 1, with the words scored as Graves and Jaitly 2014. A prefix is a sequence of symbols; its probability is the
sum over all CTC paths that spell it. A word that is still open is scored by the likeliest word that begins so (Ortmanns
et al. 1996, "Language-model look-ahead for large vocabulary speech recognition").
"""
