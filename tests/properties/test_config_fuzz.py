"""Broken config.json files end in a count or in one clear line, quickly.

`ROOFLINESIM_FUZZ` sets the number of files (2,000 without it; 20,000 is the full round).
"""

import copy
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from rooflinesim.config.huggingface import read_config
from rooflinesim.errors import RooflinesimError
from rooflinesim.workload.parameters import streamed_parameters, total_parameters

FILES = int(os.environ.get("ROOFLINESIM_FUZZ", "2000"))
SHARDS = 8
CONFIGS = Path(__file__).parents[2].parent / "shared" / "data" / "models" / "configs"
SECONDS_EACH = 2.0

PLAIN = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "torch_dtype": "bfloat16",
}
WRONG: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    3,
    7,
    2**31,
    10**9,
    10**18,
    10**400,
    0.5,
    -2.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "8",
    "fp8",
    "llama",
    "../../etc",
    [],
    [1],
    [0, -1, None],
    ["full_attention"] * 3,
    {},
    {"a": {"b": []}},
)


def seeds() -> list[dict[str, Any]]:
    files = sorted(CONFIGS.glob("*.json"))
    return [PLAIN, *(json.loads(file.read_text(encoding="utf-8")) for file in files)]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values inside a JSON value, long lists only at their first entries."""
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value[:4]))
    else:
        return [path]
    return [path, *(one for key, child in inner for one in places(child, (*path, key)))]


def broken(config: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """A copy with up to three values replaced, removed, moved or multiplied."""
    result = copy.deepcopy(config)
    for _ in range(dice.randint(1, 3)):
        path = dice.choice(places(result)[1:] or [()])
        if not path:
            continue
        owner: Any = result
        for key in path[:-1]:
            owner = owner[key]
        match dice.randint(0, 4):
            case 0:
                owner.pop(path[-1])
            case 1 if isinstance(owner[path[-1]], (int, float)):
                owner[path[-1]] *= dice.choice([-1, 0, 2, 10**3, 10**9])
            case 2 if isinstance(owner, dict):
                owner[dice.choice(list(owner))] = copy.deepcopy(owner[path[-1]])
            case _:
                owner[path[-1]] = copy.deepcopy(dice.choice(WRONG))
    return result


@pytest.mark.parametrize("shard", range(SHARDS))
def test_broken_configs_end_in_a_count_or_one_line(shard: int, tmp_path: Path) -> None:
    dice = random.Random(shard)
    configs = seeds()
    file = tmp_path / "config.json"
    counted = 0
    for _ in range(FILES // SHARDS):
        text = json.dumps(broken(dice.choice(configs), dice))
        if dice.random() < 0.05:
            text = text[: dice.randint(0, len(text))]
        file.write_text(text, encoding="utf-8")
        start = time.perf_counter()
        try:
            model, refusal = read_config(file), None
        except RooflinesimError as error:
            model, refusal = None, str(error)
        assert time.perf_counter() - start < SECONDS_EACH
        if model is not None:
            assert 0 <= streamed_parameters(model) <= total_parameters(model)
            counted += 1
        if refusal is not None:
            lines = refusal.splitlines()
            assert lines
            assert all(line.startswith(("config.json", str(tmp_path))) for line in lines), refusal
    assert counted > 0
