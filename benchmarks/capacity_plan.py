"""How long does a plan over five devices, all layouts of up to 16, four precisions and speculation take?

    python benchmarks/capacity_plan.py

Prints the candidates, the variants that were solved, processor time and the answer. At most 30 s are meant to pass on
two cores.
"""

import time

import rooflinesim as rs
from rooflinesim.specs.scenario import Formats, Objective, Scenario, Speculation, Traffic

SCENARIO = Scenario(
    name="a 70B model on five devices in four precisions",
    model=("llama3.3-70b",),
    hardware=("a100", "h100", "h200", "b200", "mi300x"),
    stack=("vllm",),
    maximum_devices=16,
    precision=Formats(weights=("bf16", "fp8", "int8", "int4")),
    speculation=Speculation(
        method="draft-model", draft="llama3.2-1b", draft_length=(1, 2, 3, 4, 5, 6, 7, 8), acceptance_rate=(0.8,)
    ),
    traffic=Traffic(requests_per_s=(20.0,), prompt_tokens=(1200,), output_tokens=(300,)),
    objective=Objective(tpot_p95=(0.05,), ttft_p95=(1.0,)),
    price={"a100": 1.5, "h100": 2.5, "h200": 3.3, "b200": 5.0, "mi300x": 2.2},
)


def main() -> None:
    wall, processor = time.perf_counter(), time.process_time()
    answer = rs.plan(scenario=SCENARIO)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    found = answer.result
    print(f"{found.candidates:,} engines, {found.variants:,} with their drafts, {found.looked_at:,} solved")
    print(f"{processor:.1f} s of processor time, {wall:.1f} s passed")
    print(answer.to_table(width=120).splitlines()[2])


if __name__ == "__main__":
    main()
