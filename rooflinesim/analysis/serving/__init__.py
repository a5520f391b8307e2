"""Serving: many requests over time on a fleet of engines."""
