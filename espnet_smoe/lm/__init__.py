"""N-gram language models: estimation, pruning, ARPA files, perplexity."""
