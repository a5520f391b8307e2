"""Numeric oracles of the theory, met by the product's own functions, configured to each oracle's simplifications.

`ROOFLINESIM_ORACLES` names another file of oracles of the same functions.
"""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rooflinesim.analysis.crossover import crossing, crossover, op_crossing
from rooflinesim.analysis.serving import queueing
from rooflinesim.analysis.speculation import chains, closed_forms, tokens, trees
from rooflinesim.analysis.speculation.acceptance import Acceptance, acceptance_rate, tokens_per_round
from rooflinesim.analysis.timing import step_op_costs, step_time, step_traffic
from rooflinesim.cost import collectives, roofline
from rooflinesim.cost.all_reduce import all_reduce_law_time
from rooflinesim.cost.machine import machine_of
from rooflinesim.cost.roofline import ridge_intensity
from rooflinesim.specs.attention_law import AttentionLaw
from rooflinesim.specs.collective_law import CollectiveLaw, Exchange
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.expert_law import ExpertLaw
from rooflinesim.specs.formats import NumberFormat
from rooflinesim.specs.gemm_law import GemmLaw
from rooflinesim.specs.hardware import Hardware, Link
from rooflinesim.specs.model import (
    Attention,
    DenseMlp,
    LatentAttention,
    LayerGroup,
    Model,
    MoeMlp,
    RecurrentMixer,
)
from rooflinesim.specs.precision import Precision
from rooflinesim.specs.routing import Routing
from rooflinesim.specs.stack import KernelLaw, Stack
from rooflinesim.workload import attention as attend
from rooflinesim.workload import experts
from rooflinesim.workload.footprint import Storage, cache_bytes
from rooflinesim.workload.forward import Pass, forward
from rooflinesim.workload.op import gemm
from rooflinesim.workload.parameters import streamed_parameters, total_parameters
from rooflinesim.workload.step import Step

SECTIONS = ("1", "2", "3", "4", "5", "6")


def bytes_format(size: float) -> NumberFormat:
    """A number format of so many bytes per value, multiplied in the only math of the oracle's device."""
    return NumberFormat(name=f"{size:g} B", value_bits=8 * size, math=("bf16",))


def formats(*, weights: float = 2.0, kv: float = 2.0, activations: float = 0.0, messages: float = 2.0) -> Precision:
    """Bytes per value; activations and logits are free unless the oracle counts them."""
    w, a = bytes_format(weights), bytes_format(activations)
    return Precision(
        attention=w,
        mlp=w,
        experts=w,
        shared_experts=w,
        head=w,
        embedding=w,
        vectors=w,
        kv_cache=bytes_format(kv),
        activations=a,
        messages=bytes_format(messages),
        logits=a,
    )


def device(*, flop_rate: float = 1e30, bandwidth: float = 1e12, link: float = 450e9) -> Hardware:
    return Hardware(
        name="oracle",
        vendor="-",
        architecture="-",
        memory_type="HBM",
        memory_bandwidth=bandwidth,
        dense_flop_rate={"bf16": flop_rate},
        link=Link(name="-", bandwidth=link, devices=4096),
        source="the oracle's inputs",
    )


FREE = KernelLaw(fixed_time=0.0, flop_efficiency=1.0)


def exchanges(algorithm: str, latency: float) -> CollectiveLaw:
    """One all-reduce algorithm whose stages take the latency: 1 of one-shot, 2 of two-shot, 2 (t - 1) of a ring."""
    slow = Exchange(latency=1e9, bandwidth_efficiency=1.0)
    one = Exchange(latency=latency, bandwidth_efficiency=1.0)
    two = Exchange(latency=2 * latency, bandwidth_efficiency=1.0)
    ring = Exchange(latency=2 * latency, rank_latency=2 * latency, bandwidth_efficiency=1.0)
    return CollectiveLaw(
        bulk=ring if algorithm == "ring_latency" else slow,
        one_shot=one if algorithm == "one_shot_latency" else None,
        two_shot=two if algorithm == "two_shot_latency" else None,
        gather=one,
        all_to_all=one,
    )


def roofline_stack(*, step_time: float = 0.0, latency: float = 0.0, algorithm: str = "one_shot_latency") -> Stack:
    """The pure roofline, with one fixed time per step and one all-reduce algorithm."""
    return Stack(
        name="roofline",
        source="the oracle's inputs",
        memory_efficiency={"HBM": 1.0},
        on_chip_efficiency=1.0,
        on_chip_share=0.0,
        gemm=GemmLaw(fixed_time=0.0, tile_rows=1, row_step=1),
        gemm_flop_efficiency={"bf16": 1.0},
        attention=AttentionLaw(
            fixed_time=0.0,
            memory_efficiency=1.0,
            flop_efficiency=1.0,
            start_time=0.0,
            start_tokens=0.0,
            tile_rows=1,
            row_step=1,
            overlap_exponent=None,
        ),
        experts=ExpertLaw(fixed_time=0.0, memory_efficiency=1.0, flop_efficiency=1.0, tile=0.0, overlap_exponent=None),
        uses_cores=False,
        recurrent=FREE,
        elementwise=FREE,
        collectives={"default": exchanges(algorithm, latency)},
        step_time=step_time,
        memory_utilization=1.0,
    )


def llama(i: dict[str, Any]) -> Model:
    """A Llama-like model of the oracle's dimensions."""
    attention = Attention(heads=i["H"], kv_heads=i["G"], key_size=i["dh"], value_size=i["dh"])
    group = LayerGroup(count=i["L"], attention=attention, mlp=DenseMlp(width=i["f"]), norm_parameters=2 * i["d"])
    return Model(
        name="llama",
        source="the oracle's inputs",
        hidden_size=i["d"],
        vocabulary=i["V"],
        layers=(group,),
        has_tied_embeddings=i.get("tied", False),
        final_norm_parameters=i["d"],
    )


def two_block(i: dict[str, Any]) -> Deployment:
    """One layer of head size 1 whose attention has the oracle's phi and kv, and a head with the other weights.

    phi = 4 H, kv = 2 kappa G with one KV head, and the vocabulary takes what is left of Nw: only totals
    enter the oracle's formula, so any model with these totals meets it.
    """
    heads = round(i.get("phi", 4) / 4)
    group = LayerGroup(count=1, attention=Attention(heads=heads, kv_heads=1, key_size=1, value_size=1))
    rest = i["Nw"] - (2 * heads + 2)
    model = Model(name="two blocks", source="-", hidden_size=1, vocabulary=rest, layers=(group,))
    assert streamed_parameters(model) == i["Nw"]
    return Deployment(
        model=model,
        hardware=device(flop_rate=i.get("P", 1e30), bandwidth=i["BW"]),
        stack=roofline_stack(step_time=i.get("t_fixed", 0.0)),
        precision=formats(weights=i.get("w", 2.0), kv=i["kv"] / 2.0),
    )


def two_block_time(i: dict[str, Any]) -> Any:
    """GEMMs and attention of the step, and the stack's fixed time; small operations are not in the oracle."""
    asked = two_block(i)
    step = Step(batch=i["b"], new_tokens=i["q"], context=i["s"])
    blocks = [
        op.count * cost.time for op, cost in step_op_costs(asked, step, Routing()) if op.kind in ("gemm", "attention")
    ]
    return sum(blocks) + asked.stack.step_time


def half_elasticity(i: dict[str, Any]) -> float | None:
    """The oracle's s counts every token of KV traffic per sequence: read, the new one read, and it written."""
    return crossover(two_block(i), context=i["s"] - 2).row("half_elasticity").batch


def attention_layer(i: dict[str, Any], step: Step) -> tuple[float, float]:
    """FLOPs and KV bytes of one attention layer."""
    attention = Attention(
        heads=i.get("H", i.get("G")),
        kv_heads=i.get("G", 1),
        key_size=i.get("dh", 1),
        value_size=i.get("dh", 1),
    )
    model = Model(name="-", source="-", hidden_size=1, vocabulary=1, layers=(LayerGroup(count=1, attention=attention),))
    ops = forward(Pass(model=model, precision=formats(kv=i.get("kappa", 2.0)), step=step))
    core = next(op for op in ops if op.kind == "attention")
    return float(core.flops), float(sum(op.kv_bytes for op in ops))


def attention_intensity(i: dict[str, Any]) -> float:
    flops, kv = attention_layer({**i, "dh": 1}, Step(batch=1, new_tokens=i["q"], context=1e9))
    return flops / kv


def kv_per_token(i: dict[str, Any]) -> float:
    model = llama({**i, "H": i["G"], "d": 1, "f": 1, "V": 1})
    return float(cache_bytes(model, formats(kv=i["kappa"]), 1.0, Storage()))


def kv_local_global(i: dict[str, Any]) -> float:
    def group(count: int, window: int | None) -> LayerGroup:
        attention = Attention(heads=i["G"], kv_heads=i["G"], key_size=i["dh"], value_size=i["dh"], window=window)
        return LayerGroup(count=count, attention=attention)

    layers = (group(i["n_global"], None), group(i["n_local"], i["win"]))
    model = Model(name="-", source="-", hidden_size=1, vocabulary=1, layers=layers)
    return float(cache_bytes(model, formats(kv=i["kappa"]), float(i["s"]), Storage()))


def mla(i: dict[str, Any]) -> LatentAttention:
    return LatentAttention(
        heads=i.get("H", 1),
        latent_size=i["dc"],
        rope_size=i["dr"],
        nope_size=i.get("dn", 1),
        value_size=i.get("dv", 1),
    )


def mla_cache(i: dict[str, Any]) -> float:
    group = LayerGroup(count=i["L"], latent_attention=mla(i))
    model = Model(name="-", source="-", hidden_size=1, vocabulary=1, layers=(group,))
    return float(cache_bytes(model, formats(kv=i["kappa"]), 1.0, Storage()))


def mla_intensity(i: dict[str, Any]) -> float:
    step = Step(batch=1, new_tokens=i["q"], context=1e9)
    attention = mla(i)
    read = attend.seen_tokens(attention, step) * attend.cached_elements(attention) * i["kappa"]
    return float(attend.absorbed_flops(attention, step) / read)


def mla_break_even(i: dict[str, Any]) -> float:
    """Where the FLOPs of both forms meet when the context is long; checked against the closed form in use."""
    attention = mla(i)

    def ratio(tokens: np.ndarray) -> np.ndarray:
        step = Step(batch=1.0, new_tokens=np.maximum(tokens, 1.0), context=1e15)
        return np.asarray(attend.absorbed_flops(attention, step) / attend.expanded_flops(attention, step))

    found = crossing(ratio).first
    assert found == pytest.approx(attend.absorbing_limit(attention), rel=1e-6)
    return float(found or math.inf)


def recurrent_state(i: dict[str, Any]) -> float:
    mixer = RecurrentMixer(state_heads=i["heads"], key_size=i["dk"], value_size=i["dv"], input_width=1, output_width=1)
    model = Model(
        name="-",
        source="-",
        hidden_size=1,
        vocabulary=1,
        layers=(LayerGroup(count=i["n_layers"], recurrent=mixer),),
    )
    precision = Precision(**{**vars(formats()), "state": bytes_format(i["nbytes"])})
    ops = forward(Pass(model=model, precision=precision, step=Step(batch=i["b"], context=12345.0)))
    return float(step_traffic(ops).kv_bytes)


def stored_bits(i: dict[str, Any]) -> float:
    return NumberFormat(
        name="-",
        value_bits=i["value_bits"],
        group=i["group"],
        scale_bits=i["scale_bits"],
        zero_bits=i.get("zero_bits", 0.0),
    ).bits


def paged_waste(i: dict[str, Any]) -> float:
    lengths = np.arange(1, i["block"] + 1, dtype=np.float64)
    return float(np.mean(attend.paged_tokens(lengths, i["block"]) - lengths))


def chunked_reread(i: dict[str, Any]) -> float:
    """Cached tokens that the chunks of one prompt read beyond their own."""
    starts = np.arange(0, i["p"], i["c"], dtype=np.float64)
    return float(np.sum(attend.read_tokens(i["c"], starts) - i["c"]))


def weight_gemm_crossover(i: dict[str, Any]) -> float | None:
    asked = two_block({**i, "Nw": 10_000_000, "kv": 2.0})
    return crossover(asked, context=0).row("weight_gemms").batch


def whole_step_crossover(i: dict[str, Any]) -> float | None:
    return crossover(two_block(i), context=i["s"]).row("step").batch


def whole_step_limit(i: dict[str, Any]) -> float | None:
    return crossover(two_block({"w": 2.0, **i}), context=0).row("step").context_limit


def one_gemm_crossover(i: dict[str, Any]) -> float | None:
    asked = two_block({"Nw": 1000, "kv": 2.0, "P": i["P"], "BW": i["BW"]})
    weights, activations = bytes_format(i["w"]), bytes_format(i["a"])

    def op(rows: np.ndarray) -> Any:
        return gemm("-", rows=rows, inputs=i["k"], outputs=i["m"], weights=weights, activations=activations)

    return op_crossing(op, machine_of(asked)).first


def expert_crossover(i: dict[str, Any]) -> float | None:
    moe = MoeMlp(experts=i["E"], active_experts=i["k"], width=8)
    model = Model(name="-", source="-", hidden_size=8, vocabulary=8, layers=(LayerGroup(count=1, moe=moe),))
    asked = Deployment(
        model=model,
        hardware=device(flop_rate=i["P"], bandwidth=i["BW"]),
        stack=roofline_stack(),
        precision=formats(weights=i["w"]),
    )
    rows = crossover(asked, context=0).rows
    return next(row.batch for row in rows if row.op == "moe.experts.down")


def tensor_parallel_step(i: dict[str, Any]) -> float:
    """A model whose weights outweigh all else by 10^9, so that its time on one device is X and on t is X/t."""
    group = LayerGroup(
        count=i["L"],
        attention=Attention(heads=i["t"], kv_heads=1, key_size=1, value_size=1),
        mlp=DenseMlp(width=10**12),
    )
    model = Model(name="-", source="-", hidden_size=i["d"], vocabulary=i["t"], layers=(group,))
    asked = Deployment(
        model=model,
        hardware=device(bandwidth=2.0 * streamed_parameters(model) / i["X"], link=i["bw"]),
        stack=roofline_stack(latency=i["lat"]),
        precision=formats(messages=i["a"]),
        tensor_parallel=i["t"],
    )
    step = Step(batch=i["b"], new_tokens=i["q"])
    gathered = sum(float(cost.time) for op, cost in step_op_costs(asked, step, Routing()) if op.kind == "all_gather")
    return float(step_time(asked, step).time) - gathered


def all_reduce(algorithm: str) -> Callable[[dict[str, Any]], float]:
    def time(i: dict[str, Any]) -> float:
        return float(all_reduce_law_time(i["t"], i["m"], i["bw"], exchanges(algorithm, i["lat"])))

    return time


def best_ring(i: dict[str, Any]) -> float:
    found = float(collectives.best_ring_ranks(i["X"], i["L"], i["lat"]))

    def total(ranks: float) -> float:
        return i["X"] / ranks + 2 * i["L"] * float(collectives.ring_time(ranks, 0.0, i["lat"], 1.0))

    assert total(found) <= min(total(found * 0.99), total(found * 1.01))
    return found


def plain_time(i: dict[str, Any], batch: Any) -> Any:
    """A decode step of the oracle's target."""
    return two_block_time({**i["target"], "b": batch, "q": 1, "s": i["s"]})


def round_time(i: dict[str, Any], batch: Any) -> Any:
    """Draft steps one after another, each one token further on, and the verification."""
    drafting = sum(
        two_block_time({**i["draft"], "b": batch, "q": 1, "s": i["s"] + ahead})
        for ahead in range(i["gamma"] if i["draft"] else 0)
    )
    verifying = two_block_time({**i["target"], "b": batch, "q": i["gamma"] + 1, "s": i["s"]})
    return drafting + verifying + i.get("t_over", 0.0)


def emitted(i: dict[str, Any]) -> Any:
    return tokens_per_round(Acceptance(value=i["alpha"]), i["gamma"])


def roofline_speedup(i: dict[str, Any], batch: Any = None) -> Any:
    batch = i["b"] if batch is None else batch
    return chains.speedup(emitted(i), plain_time(i, batch), round_time(i, batch))


def losing_batch(i: dict[str, Any]) -> int:
    batches = np.arange(1.0, i["bmax"] + 1)
    return int(chains.losing_from(roofline_speedup(i, batches))) + 1


def goodput_length(i: dict[str, Any]) -> int:
    lengths = range(i["gmax"] + 1)
    times = [round_time({**i, "gamma": length}, i["b"]) for length in lengths]
    return int(chains.best_option(tokens_per_round(Acceptance(value=i["alpha"]), np.array(lengths)), times))


def block_times(i: dict[str, Any], name: str) -> tuple[float, float]:
    """Time of the products of one token, and time to read one cached token."""
    block = i[name]
    return 2.0 * block["Nw"] / block["P"], block["kv"] / block["BW"]


def large_batch(i: dict[str, Any]) -> dict[str, Any]:
    (token, cache), (draft_token, draft_cache) = block_times(i, "target"), block_times(i, "draft")
    return {
        "emitted": emitted(i),
        "draft_length": i["gamma"],
        "token_time": token,
        "cache_time": cache,
        "draft_token_time": draft_token,
        "draft_cache_time": draft_cache,
        "draft_context": i["s_draft"],
    }


def fitting(i: dict[str, Any]) -> float:
    """Sequences beside weights, a draft's weights and activations, in whole blocks of the paged cache."""
    room = i["mem"] * i["util"] - i["weights"] - i.get("draft_weights", 0.0) - i["act"]
    tokens = i["s"] + i["gamma"] + 1 if "gamma" in i else i["s"]
    held = (i["kv"] + i.get("kv_draft", 0.0)) * attend.paged_tokens(np.float64(tokens), i["block"])
    return float(queueing.fitting_sequences(room, held))


def affine_mean_batch(i: dict[str, Any]) -> float:
    """The closed form, and the same point found on the rates of every batch."""
    found = float(queueing.mean_batch(i["lam"], i["n"], i["t0"], i["t1"], i.get("Tp", 0.0)))
    if math.isfinite(found):
        rates = decode_rates(i, np.arange(1.0, 1000.0))
        assert float(queueing.batch_at_rate(i["lam"], rates)) == pytest.approx(found, rel=1e-9)
    return found


def decode_rates(i: dict[str, Any], batch: Any) -> Any:
    return queueing.request_rate(batch, i["n"], i["t0"] + i["t1"] * batch, i.get("Tp", 0.0))


def birth_death_mean(i: dict[str, Any]) -> float:
    batches = np.arange(0.0, 2001.0)
    shares, beyond = queueing.batch_probabilities(np.array([i["lam"]]), i["n"], i["t0"] + i["t1"] * batches[1:])
    assert float(beyond[0]) < 1e-12
    return float(shares[0] @ batches)


ORACLES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "dense_params": lambda i: total_parameters(llama(i)),
    "dense_streamed_params": lambda i: streamed_parameters(llama(i)),
    "kv_bytes_per_token": kv_per_token,
    "attn_flops": lambda i: attention_layer(i, Step(batch=i["b"], new_tokens=i["q"], context=i["s"]))[0],
    "attn_kv_bytes": lambda i: attention_layer(i, Step(batch=i["b"], new_tokens=i["q"], context=i["s"]))[1],
    "attn_intensity_limit": attention_intensity,
    "swa_pairs": lambda i: float(attend.visible_pairs(i["q"], i["s"], i["win"])),
    "kv_bytes_local_global": kv_local_global,
    "mla_kv_bytes_per_token": mla_cache,
    "mla_absorbed_intensity": mla_intensity,
    "mla_absorb_breakeven_q": mla_break_even,
    "moe_distinct_uniform": lambda i: experts.distinct_experts(i["E"], i["k"], i["n"]),
    "moe_distinct_zipf": lambda i: experts.awake_experts(
        i["E"], i["k"], Step(batch=i["n"]), Routing(zipf_exponent=i["zipf"])
    ),
    "moe_tokens_per_active_expert": lambda i: experts.tokens_per_expert(i["E"], i["k"], i["n"]),
    "moe_saturation_tokens": lambda i: experts.saturating_tokens(i["E"], i["k"], i["tau"]),
    "moe_distinct_correlated": lambda i: experts.awake_experts(
        i["E"], i["k"], Step(batch=i["b"], new_tokens=i["q"]), Routing(overlap=i["r"])
    ),
    "state_bytes_per_step": recurrent_state,
    "bits_per_weight": stored_bits,
    "paged_waste": paged_waste,
    "chunked_prefill_reread": chunked_reread,
    "ridge": lambda i: ridge_intensity(i["P"], i["BW"]),
    "gemm_crossover_weights_only": weight_gemm_crossover,
    "gemm_crossover_exact": one_gemm_crossover,
    "agg_crossover": whole_step_crossover,
    "agg_crossover_context_limit": whole_step_limit,
    "moe_crossover": expert_crossover,
    "half_elasticity_batch": half_elasticity,
    "step_time": lambda i: float(two_block_time(i)),
    "omega": emitted,
    "omega_positional": lambda i: tokens.survival_tokens(tokens.survival_of_conditional(i["alphas"])),
    "round_variance": lambda i: tokens.survival_variance(tokens.survival_of_conditional(i["alphas"])),
    "drafted_rate": lambda i: tokens.drafted_rate(emitted(i), i["gamma"]),
    "alpha_from_omega": lambda i: acceptance_rate(Acceptance(kind="length-with-bonus", value=i["om"]), i["gamma"]),
    "accept_prob": lambda i: tokens.token_acceptance(i["p"], i["q"]),
    "speedup_simple": lambda i: closed_forms.constant_cost_speedup(emitted(i), i["gamma"], i["c"]),
    "ops_factor": lambda i: closed_forms.operations_factor(emitted(i), i["gamma"], i["chat"]),
    "optimal_gamma": lambda i: chains.best_draft_length(i["alpha"], i["c"], i["gmax"]),
    "speedup_roofline": roofline_speedup,
    "breakeven_alpha": lambda i: chains.break_even_rate(round_time(i, i["b"]), plain_time(i, i["b"]), i["gamma"]),
    "spec_crossover": losing_batch,
    "goodput_gamma": goodput_length,
    "rounds_to_finish": lambda i: closed_forms.rounds_to_finish(tokens.survival_of_conditional(i["alphas"]), i["N"]),
    "speedup_rel_ci": lambda i: closed_forms.relative_half_width(
        tokens.survival_of_conditional(i["alphas"]), i["rounds"]
    ),
    "tree_omega": lambda i: trees.tree_tokens(trees.tree_of_paths(i["paths"]), i["p"]),
    "medusa_omega": lambda i: trees.tree_tokens_by_depth(trees.tree_of_paths(i["paths"]), i["acc"]),
    "full_tree_omega": lambda i: trees.full_tree_tokens(i["p"], i["B"], i["D"]),
    "best_tree_omega": lambda i: trees.tree_tokens(trees.best_tree(i["p"], i["n"], i["depth"]), i["p"]),
    "eagle3_params": lambda i: closed_forms.eagle3_parameters(
        i["d_t"], i["d"], i["H"], i["G"], i["dh"], i["f"], i["Vd"]
    ),
    "parallel_candidates_omega": lambda i: closed_forms.parallel_candidates_tokens(i["alpha"], i["gamma"], i["w"]),
    "layerskip_speedup": lambda i: closed_forms.early_exit_speedup(
        emitted(i), i["gamma"], i["L"], i["E"], i["t"], i["h"]
    ),
    "lookup_speedup": lambda i: closed_forms.lookup_speedup(i["hit"], emitted(i), i["v"]),
    "large_batch_speedup": lambda i: closed_forms.large_batch_speedup(**large_batch(i), context=i["s"]),
    "large_batch_breakeven_context": lambda i: closed_forms.paying_context(**large_batch(i)),
    "spec_context_inflection": lambda i: closed_forms.memory_bound_context(
        i["gamma"],
        streamed_parameters=i["Nw"],
        ridge=ridge_intensity(i["P"], i["BW"]),
        cache_bytes=i["kv"],
        pair_flops=i["phi"],
    ),
    "sparse_kv_limit": lambda i: closed_forms.bounded_cache_speedup(emitted(i), i["gamma"], i["K"], i["s"]),
    "moe_spec_speedup": lambda i: closed_forms.expert_speedup(
        emitted(i),
        i["gamma"],
        batch=i["b"],
        experts=i["E"],
        active_experts=i["k"],
        dense_bytes=i["Wd"],
        expert_bytes=i["We"],
    ),
    "max_concurrency": fitting,
    "max_concurrency_spec": fitting,
    "mean_batch_fixed_point": affine_mean_batch,
    "max_rate": lambda i: decode_rates(i, float(i["Bmax"])),
    "mean_batch_birth_death": birth_death_mean,
    "pk_wait": lambda i: float(queueing.prompt_wait(i["lam"], i["es"], i["es2"])),
    "wait_quantile": lambda i: float(queueing.wait_quantile(i["rho"], i["W"], i["p"])),
    "pd_ratio": lambda i: queueing.prefill_ratio(i["Tp"], i["n"], i["B"], i["t0"] + i["t1"] * i["B"]),
    "usd_per_mtok": lambda i: queueing.usd_per_million_tokens(i["price"] * i["gpus"], i["tps"], i["util"]),
    "joule_per_token": lambda i: queueing.joule_per_token(
        byte_energy=i["e_byte"],
        moved_bytes=i["nbytes"],
        flop_energy=i["e_flop"],
        flop=i["flops"],
        static_power=i["P_static"],
        time=i["t"],
        tokens=i["tokens"],
    ),
    "allreduce_ring": all_reduce("ring_latency"),
    "allreduce_oneshot": all_reduce("one_shot_latency"),
    "allreduce_twoshot": all_reduce("two_shot_latency"),
    "oneshot_twoshot_switch": lambda i: collectives.two_shot_from_bytes(i["t"], i["lat"], i["bw"]),
    "tp_step": tensor_parallel_step,
    "tp_optimum_ring": best_ring,
    "ep_distinct_ranks": lambda i: experts.distinct_ranks(i["E"], i["k"], i["R"]),
    "ep_max_load": lambda i: collectives.busiest_rank_tokens(i["n"], i["k"], i["R"]),
    "pp_bubble": lambda i: collectives.pipeline_bubble(i["p"], i["m"]),
    "smooth_max": lambda i: roofline.smooth_maximum(i["tc"], i["tm"], i["p"]),
    "launch_bound": lambda i: roofline.host_bound_time(i["gpu_time"], i["n_kernels"], i["t_launch"]),
    "littles_law_bytes": lambda i: roofline.bytes_in_flight(i["bw"], i["latency"]),
    "effective_bw": lambda i: roofline.effective_bandwidth(i["bw"], i["M"], i["t0"]),
    "wave_efficiency": lambda i: roofline.wave_efficiency(i["m"], i["n"], i["tm"], i["tn"], i["sms"]),
    "throttle_factor": lambda i: roofline.clock_factor(i["tdp"], i["idle"], i["p_mem"], i["p_core"]),
}


def oracle_file() -> Path:
    named = os.environ.get("ROOFLINESIM_ORACLES")
    return Path(named) if named else Path(__file__).parents[2].parent / "shared" / "data" / "theory_oracles.json"


def oracles() -> list[Any]:
    file = oracle_file()
    if not file.is_file():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"no oracles at {file}"), id="absent")]
    content = json.loads(file.read_text(encoding="utf-8"))
    sections = {name: function["eq"].split(".")[0] for name, function in content["functions"].items()}
    return [
        pytest.param(oracle, id=oracle["id"]) for oracle in content["oracles"] if sections[oracle["fn"]] in SECTIONS
    ]


@pytest.mark.parametrize("oracle", oracles())
def test_product_meets_oracle(oracle: dict[str, Any]) -> None:
    found = ORACLES[oracle["fn"]](oracle["inputs"])
    expected = math.inf if oracle["expected"] == "inf" else oracle["expected"]
    if math.isinf(expected):
        assert found is None or math.isinf(found)
    else:
        assert found == pytest.approx(expected, rel=max(oracle["rtol"], 1e-15), abs=0.0)
