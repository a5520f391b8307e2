"""A decoder in torch: it is the model that predictions count, and its steps agree however they are cut."""

import dataclasses

import pytest

from rooflinesim.errors import DomainError, UnknownNameError, UnsupportedError
from rooflinesim.specs.model import DenseMlp
from rooflinesim.workload.parameters import total_parameters

torch = pytest.importorskip("torch", reason="torch is not installed")

from rooflinesim.validation.device.decoder import (  # noqa: E402
    DTYPES,
    CachePool,
    Decoder,
    WeightPool,
    cache_elements,
    placed,
    pool_elements,
)
from rooflinesim.validation.device.runners import runners_of, stepper  # noqa: E402
from rooflinesim.validation.device.sizes import DECODERS, known_decoder  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    """One thread, as everywhere in validation on shared machines."""
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield


def made(name="tiny", form="fp32", **changes):
    model = dataclasses.replace(known_decoder(name), **changes)
    return Decoder(model, WeightPool(pool_elements(model), form), longest=128)


def caches(decoder, batch, capacity=64):
    return CachePool(cache_elements(decoder.model, batch, capacity), decoder.form).view(decoder.model, batch, capacity)


def drawn(decoder, batch, new_tokens, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, decoder.model.vocabulary, (batch, new_tokens), generator=generator)


@pytest.mark.parametrize("name", ["tiny", "tiny-moe", "40M"])
def test_a_decoder_has_the_parameters_that_its_model_counts(name):
    decoder = made(name, "bf16")
    assert sum(weight.numel() for weight in decoder.parameters()) == total_parameters(known_decoder(name))


def test_sizes_are_what_their_names_say():
    # 12 x (768 x 1280 + 768 x 768 + 3 x 768 x 2048 + 1536) + 2 x 32000 x 768 + 768
    assert total_parameters(known_decoder("100M")) == 124_668_672
    assert [round(total_parameters(DECODERS[name]) / 1e6) for name in ("40M", "350M", "1B")] == [56, 381, 1100]


@pytest.mark.parametrize("name", ["tiny", "tiny-moe"])
@pytest.mark.parametrize(("form", "tolerance"), [("fp32", 1e-5), ("bf16", 0.02), ("fp16", 0.005)])
def test_a_prompt_then_single_tokens_then_a_chain_score_like_one_prompt(name, form, tolerance):
    decoder = made(name, form)
    tokens = drawn(decoder, 3, 16)
    whole = decoder.step(tokens, placed([0] * 3, 16, form=form), caches(decoder, 3))
    cache, parts = caches(decoder, 3), []
    for start, new in ((0, 9), (9, 1), (10, 1), (11, 5)):
        parts.append(decoder.step(tokens[:, start : start + new], placed([start] * 3, new, form=form), cache))
    assert torch.allclose(torch.cat(parts, 1).float(), whole.float(), atol=tolerance)


@pytest.mark.parametrize("new_tokens", [1, 4])
def test_rows_that_stand_unevenly_score_as_each_alone(new_tokens):
    decoder = made()
    cache = caches(decoder, 3)
    alone = (
        [cache.keys[:, row : row + 1].clone() for row in range(3)],
        [cache.values[:, row : row + 1].clone() for row in range(3)],
    )
    tokens, starts = drawn(decoder, 3, new_tokens), [20, 7, 33]
    together = decoder.step(tokens, placed(starts, new_tokens, form="fp32"), cache)
    for row, start in enumerate(starts):
        own = dataclasses.replace(cache, keys=alone[0][row], values=alone[1][row])
        single = decoder.step(tokens[row : row + 1], placed([start], new_tokens, form="fp32"), own)
        assert torch.allclose(single[0], together[row], atol=1e-5)


def test_each_path_of_a_tree_scores_like_a_chain_and_its_cache_can_be_moved_together():
    decoder = made()
    parents = (-1, 0, 0, 1, 2)  # 0 -> 1 -> 3 and 0 -> 2 -> 4
    tokens = drawn(decoder, 2, 5)
    cache = caches(decoder, 2)
    chain_cache = dataclasses.replace(cache, keys=cache.keys.clone(), values=cache.values.clone())
    tree = decoder.step(tokens, placed([12, 20], 5, form="fp32", parents=parents), cache)
    path = [0, 2, 4]
    chain = decoder.step(tokens[:, path], placed([12, 20], 3, form="fp32"), chain_cache)
    assert torch.allclose(tree[:, path], chain, atol=1e-5)
    cache.move([0, 0, 1, 1], [14, 16, 22, 24], [13, 14, 21, 22])
    for row, start in enumerate((12, 20)):
        kept = slice(start, start + 3)
        assert torch.allclose(cache.keys[:, row, :, kept], chain_cache.keys[:, row, :, kept], atol=1e-5)
        assert torch.allclose(cache.values[:, row, :, kept], chain_cache.values[:, row, :, kept], atol=1e-5)


def test_only_the_last_tokens_are_scored_when_asked():
    decoder = made()
    tokens = drawn(decoder, 2, 6)
    whole = decoder.step(tokens, placed([0, 0], 6, form="fp32"), caches(decoder, 2))
    last = decoder.step(tokens, placed([0, 0], 6, form="fp32"), caches(decoder, 2), scored=1)
    assert last.shape == (2, 1, 256)
    assert torch.allclose(last[:, 0], whole[:, -1], atol=1e-6)


def test_an_exit_runs_the_first_layers_and_agrees_more_when_later_ones_are_quiet():
    decoder = made()
    early = decoder.exit_after(1)
    assert (len(early.layers), early.model.layer_count) == (1, 1)
    tokens = drawn(decoder, 16, 8)

    def agreement():
        scores = [one.step(tokens, placed([0] * 16, 8, form="fp32"), caches(one, 16)) for one in (decoder, early)]
        return float((scores[0].argmax(-1) == scores[1].argmax(-1)).float().mean())

    before = agreement()
    decoder.quieten(1, 0.1)
    assert agreement() > max(before, 0.5)


def test_steps_mark_the_operations_that_predictions_name():
    decoder, marks = made(), []
    decoder.step(drawn(decoder, 1, 1), placed([3], 1, form="fp32"), caches(decoder, 1), mark=marks.append)
    layer = ["norm", "qkv", "rope_append", "core", "out"]
    mlp = ["norm", "gate_up", "activation", "down"]
    assert marks[1:10] == [*(f"attention.{name}" for name in layer), *(f"mlp.{name}" for name in mlp)]
    assert len(marks) == 1 + 4 * 9 + 2


def test_an_eager_stepper_repeats_its_step_and_takes_new_tokens():
    decoder = made()
    ready = stepper("eager", decoder, caches(decoder, 2), context=10)
    first = ready.run()
    assert torch.equal(first, ready.run())
    ready.refill((ready.tokens + 1) % 256, placed([10, 10], 1, form="fp32"))
    assert not torch.equal(first, ready.run())


def test_graphs_need_cuda():
    decoder = made()
    assert runners_of(decoder) == ("eager", "compile")
    with pytest.raises(UnsupportedError, match="graphs need CUDA"):
        stepper("graph", decoder, caches(decoder, 1), context=4)


def test_what_cannot_be_run_is_refused_by_name():
    tiny = known_decoder("tiny")
    plain = dataclasses.replace(tiny.layers[0], mlp=DenseMlp(width=64, is_gated=False))
    with pytest.raises(UnsupportedError, match="tiny: only full attention with gated MLPs"):
        made(layers=(plain,))
    with pytest.raises(UnknownNameError, match="give one of tiny"):
        known_decoder("7B")
    with pytest.raises(DomainError, match="too few"):
        Decoder(tiny, WeightPool(100, "fp32"))
    with pytest.raises(DomainError, match="parents come before"):
        placed([1], 2, form="fp32", parents=(-1, 1))
    assert set(DTYPES) == {"fp32", "bf16", "fp16"}
