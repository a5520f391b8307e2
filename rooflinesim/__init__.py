"""Decode latency, its flip batch and what binds it, for large language models on real hardware.

The public names are those listed here; they load what they need when first used.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PLACES = {
    "capacity_report": "rooflinesim.api.report",
    "compare": "rooflinesim.api.compare",
    "crossover": "rooflinesim.api.crossover",
    "decode": "rooflinesim.api.decode",
    "decode_ops": "rooflinesim.api.operations",
    "memory": "rooflinesim.api.memory",
    "plan": "rooflinesim.api.plan",
    "prefill": "rooflinesim.api.prefill",
    "run": "rooflinesim.api.run",
    "solve": "rooflinesim.api.solve",
    "simulate": "rooflinesim.analysis.serving.simulation",
    "steady_state": "rooflinesim.analysis.serving.steady",
    "sweep": "rooflinesim.api.sweep",
    "deployment": "rooflinesim.api.answers",
    "plot_breakdown": "rooflinesim.api.plots",
    "plot_crossover": "rooflinesim.api.plots",
    "plot_latency": "rooflinesim.api.plots",
    "plot_memory": "rooflinesim.api.plots",
    "plot_pareto": "rooflinesim.api.plots",
    "plot_roofline": "rooflinesim.api.plots",
    "plot_speculation": "rooflinesim.api.plots",
    "plot_validation": "rooflinesim.api.plots",
    "speculate": "rooflinesim.api.speculate",
    "Acceptance": "rooflinesim.analysis.speculation.acceptance",
    "Answer": "rooflinesim.report.answer",
    "load_draft": "rooflinesim.config.drafts",
    "load_hardware": "rooflinesim.config.catalogue",
    "load_model": "rooflinesim.config.catalogue",
    "load_scenarios": "rooflinesim.config.scenarios",
    "load_stack": "rooflinesim.config.catalogue",
    "load_trace": "rooflinesim.config.traces",
    "Deployment": "rooflinesim.specs.deployment",
    "DraftHead": "rooflinesim.specs.draft_head",
    "Drafting": "rooflinesim.analysis.speculation.drafting",
    "Fleet": "rooflinesim.analysis.serving.load",
    "Hardware": "rooflinesim.specs.hardware",
    "Load": "rooflinesim.analysis.serving.load",
    "Model": "rooflinesim.specs.model",
    "NumberFormat": "rooflinesim.specs.formats",
    "Policy": "rooflinesim.analysis.serving.load",
    "Precision": "rooflinesim.specs.precision",
    "Scenario": "rooflinesim.specs.scenario",
    "Stack": "rooflinesim.specs.stack",
    "RooflinesimError": "rooflinesim.errors",
}

__all__ = ["__version__", *sorted(_PLACES)]


def __getattr__(name: str) -> Any:
    """Load a public name from its room."""
    if name not in _PLACES:
        raise AttributeError(f"module 'rooflinesim' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
