"""Speculative decoding: what a round emits, what it costs, and what is best."""
