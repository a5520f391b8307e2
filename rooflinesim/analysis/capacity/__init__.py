"""Capacity: which fleet serves a load within its objective, at what cost and energy."""
