"""All model families by their model_type; an entry says what the configuration files leave out."""

from collections.abc import Mapping

from rooflinesim.config.dense_families import DENSE_FAMILIES
from rooflinesim.config.expert_families import EXPERT_FAMILIES
from rooflinesim.config.family import Family
from rooflinesim.config.recurrent_families import RECURRENT_FAMILIES

FAMILIES: Mapping[str, Family] = {**DENSE_FAMILIES, **EXPERT_FAMILIES, **RECURRENT_FAMILIES}
