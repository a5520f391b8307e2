"""SHOW: arguments -> a call -> a presentation."""
