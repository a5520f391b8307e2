"""YAML and JSON files -> specs: the catalogue of shipped profiles, and files of the user's own."""

from rooflinesim.config.catalogue import Kind, entries, load_hardware, load_model, load_stack, resolve
from rooflinesim.config.drafts import load_draft
from rooflinesim.config.routing import with_routing

__all__ = ["Kind", "entries", "load_draft", "load_hardware", "load_model", "load_stack", "resolve", "with_routing"]
