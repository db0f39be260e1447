"""Benchmarks: side by side with a peer, medians of interleaved runs."""
