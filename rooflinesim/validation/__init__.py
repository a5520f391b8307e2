"""VALIDATE: what was measured beside what was predicted, and constants fitted to it."""
