"""What a configuration file says about number formats -> the formats of each part of a checkpoint."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from rooflinesim.config.fields import Fields
from rooflinesim.config.module_names import layer_number, module_names, speaks_of
from rooflinesim.errors import UnsupportedError
from rooflinesim.specs.formats import NumberFormat, number_format
from rooflinesim.specs.model import CheckpointFormats, LayerGroup, PartName
from rooflinesim.workload.matrices import Matrix, layer_matrices

_PARTS: tuple[PartName, ...] = ("attention", "mlp", "experts", "shared_experts")
_WHOLE_MODULES = {"head": ("lm_head",), "embedding": ("embed_tokens", "wte", "word_embeddings", "embeddings")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scheme:
    """How a checkpoint stores its matrices.

    A module that a pattern of `kept` means stays wide; else the first pattern of `chosen` decides; else it is
    stored as `weights`. `experts` is set where routed experts have a format of their own.
    """

    place: str
    weights: str
    experts: str | None = None
    kept: tuple[str, ...] = ()
    chosen: tuple[tuple[str, str], ...] = ()
    kv_cache: str | None = None
    assumptions: tuple[str, ...] = ()


def checkpoint_formats(
    scheme: Scheme, layers: tuple[LayerGroup, ...], hidden_size: int, wide: str
) -> tuple[CheckpointFormats, tuple[str, ...]]:
    """Formats of each part, and what was assumed; a part in several formats takes their mean bits."""
    formats: dict[str, str] = {}
    exact: dict[str, NumberFormat] = {}
    notes = list(scheme.assumptions)
    for part in _PARTS:
        tally = _tally(scheme, part, layers, hidden_size, wide)
        if not tally:
            continue
        formats[part] = max(tally, key=lambda name: tally[name])
        if len(tally) > 1:
            exact[part] = _mean_format(tally, formats[part])
            mixed = " and ".join(sorted(tally))
            notes.append(f"{part} is stored in {mixed}: bytes are their mean, math runs as {formats[part]} does")
    for whole, names in _WHOLE_MODULES.items():
        chosen = (form for pattern, form in scheme.chosen if speaks_of(pattern, names, None, scheme.place))
        formats[whole] = next(chosen, wide)
    vectors = wide if wide in ("fp32", "fp16") else "bf16"
    fields: dict[str, Any] = {"kv_cache": scheme.kv_cache, "exact": exact, **formats}
    return CheckpointFormats(weights=scheme.weights, vectors=vectors, **fields), tuple(notes)


def _mean_format(tally: Mapping[str, float], larger: str) -> NumberFormat:
    """A format of the mean bits of several, whose math is that of the one with most elements."""
    bits = sum(number_format(name).bits * elements for name, elements in tally.items()) / sum(tally.values())
    return NumberFormat(name="+".join(sorted(tally)), value_bits=bits, math=number_format(larger).math)


def _tally(
    scheme: Scheme, part: PartName, layers: tuple[LayerGroup, ...], hidden_size: int, wide: str
) -> Mapping[str, float]:
    """Elements of a part in all layers by the format they are stored in."""
    matrices: dict[LayerGroup, list[Matrix]] = {}
    tally: dict[str, float] = {}
    for index, layer in enumerate(layers):
        if layer not in matrices:
            matrices[layer] = [matrix for matrix in layer_matrices(layer, hidden_size) if matrix.part == part]
        narrowed = _of_layer(scheme, index) if matrices[layer] else scheme
        for matrix in matrices[layer]:
            modules = module_names(matrix, index)
            for names in modules:
                form = _format_of(narrowed, part, names, index, wide)
                tally[form] = tally.get(form, 0.0) + matrix.parameters / len(modules)
    return tally


def _of_layer(scheme: Scheme, layer: int) -> Scheme:
    """The scheme without the patterns that name another layer; lists of thousands are common."""
    return dataclasses.replace(
        scheme,
        kept=tuple(pattern for pattern in scheme.kept if layer_number(pattern) in (None, layer)),
        chosen=tuple(choice for choice in scheme.chosen if layer_number(choice[0]) in (None, layer)),
    )


def _format_of(scheme: Scheme, part: PartName, names: tuple[str, ...], layer: int, wide: str) -> str:
    if any(speaks_of(pattern, names, layer, scheme.place) for pattern in scheme.kept):
        return wide
    for pattern, form in scheme.chosen:
        if speaks_of(pattern, names, layer, scheme.place):
            return form
    return scheme.experts if part == "experts" and scheme.experts else scheme.weights


def scheme_of(block: Fields, wide: str) -> Scheme:
    """The scheme that a quantization_config, or the same of a side file, describes.

    Raises
    ------
    UnsupportedError : if its method or format is not known.
    ProfileError : if a key of it is malformed.
    """
    method = block.value("quant_method")
    if method is None:
        method = _method_by_keys(block)
    reader = _READERS.get(str(method).lower().replace("_", "-"))
    if reader is None:
        known = ", ".join(_READERS)
        raise UnsupportedError(
            f"{block.file}: {block.section}quant_method: {method!r:.40} is not known; known: {known}"
        )
    return reader(block, wide)


def _method_by_keys(block: Fields) -> str:
    """Method of a block that does not name it, told by the keys it has."""
    for method, keys in {
        "modelopt": ("quant_algo",),
        "compressed-tensors": ("config_groups",),
        "fp8": ("weight_block_size", "fmt", "activation_scheme"),
        "bitsandbytes": ("load_in_8bit", "load_in_4bit"),
    }.items():
        if any(block.has(key) for key in keys):
            return method
    raise block.problem("quant_method", "missing, and no other key tells the method; add it")


def _patterns(block: Fields, *keys: str) -> tuple[str, ...]:
    """Names and patterns of the modules that stay wide."""
    found: list[str] = []
    for key in keys:
        for entry in block.sequence(key) or ():
            if not isinstance(entry, str):
                raise block.problem(key, f"{entry!r:.40} is no module name")
            found.append(entry)
    return tuple(found)


def _fp8(block: Fields, _wide: str) -> Scheme:
    sizes = block.sequence("weight_block_size")
    notes = []
    if sizes is not None and list(sizes) != [128, 128]:
        notes.append(f"weight blocks of {list(sizes)!r:.40} are taken as blocks of 128 x 128")
    weights = "fp8-block" if sizes is not None else "fp8"
    expert_type = block.value("expert_dtype")
    if expert_type not in (None, "fp4", "fp8"):
        raise UnsupportedError(f"{block.file}: {block.section}expert_dtype: {expert_type!r:.40} is not known; fp4 is")
    if expert_type == "fp4":
        notes.append("expert_dtype fp4 is taken as mxfp4: one 8-bit scale per 32 values")
    return Scheme(
        place=block.file,
        weights=weights,
        experts="mxfp4" if expert_type == "fp4" else None,
        kept=_patterns(block, "modules_to_not_convert", "ignored_layers"),
        kv_cache=_kv_cache(block),
        assumptions=tuple(notes),
    )


def _mxfp4(block: Fields, wide: str) -> Scheme:
    """Only routed experts are stored in 4 bits."""
    kept = _patterns(block, "modules_to_not_convert")
    return Scheme(place=block.file, weights=wide, experts="mxfp4", kept=kept, kv_cache=_kv_cache(block))


def _integer_format(block: Fields, bits: int, group: int | None, *, has_zeros: bool) -> str:
    """Name of the format of integer weights with a scale per group of values."""
    if bits == 8:
        return "int8"
    names = {
        (None, False): "int4-channel",
        (None, True): "int4-channel",
        (128, False): "int4",
        (128, True): "int4-awq",
        (64, False): "int4-g64",
        (64, True): "int4-g64-awq",
        (32, False): "int4-g32-symmetric",
        (32, True): "int4-g32-awq",
    }
    if bits != 4 or (group, has_zeros) not in names:
        what = f"{bits} bits in groups of {group}"
        raise UnsupportedError(f"{block.file}: {block.section}bits: {what} are not known; 4 and 8 bits are")
    return names[group, has_zeros]


def _group(block: Fields, key: str) -> int | None:
    """Values per scale; None, -1 and 0 are a scale per channel."""
    size = block.optional_count(key, -1)
    return None if size is None or size < 1 else size


def _awq(block: Fields, _wide: str) -> Scheme:
    bits = block.optional_count("bits") or block.optional_count("w_bit") or 4
    group = _group(block, "group_size" if block.has("group_size") else "q_group_size")
    has_zeros = block.value("zero_point") is not False
    form = _integer_format(block, bits, group, has_zeros=has_zeros)
    return Scheme(place=block.file, weights=form, kept=_patterns(block, "modules_to_not_convert"))


def _gptq(block: Fields, _wide: str) -> Scheme:
    bits = block.optional_count("bits") or 4
    has_zeros = block.value("sym") is False
    form = _integer_format(block, bits, _group(block, "group_size"), has_zeros=has_zeros)
    dynamic = block.inner("dynamic").values
    skipped = tuple(f"re:{key.removeprefix('-:')}" for key in dynamic if key.startswith("-:"))
    chosen = (("lm_head", form),) if block.value("lm_head") is True else ()
    kept = (*skipped, *_patterns(block, "modules_to_not_convert"))
    return Scheme(place=block.file, weights=form, kept=kept, chosen=chosen)


def _bitsandbytes(block: Fields, _wide: str) -> Scheme:
    is_4bit = block.flag("load_in_4bit") or block.flag("_load_in_4bit")
    if not is_4bit and not (block.flag("load_in_8bit") or block.flag("_load_in_8bit")):
        raise block.problem("load_in_4bit", "neither it nor load_in_8bit is true; say which one the file holds")
    double = "nf4-double" if block.flag("bnb_4bit_use_double_quant") else "nf4"
    return Scheme(
        place=block.file,
        weights=double if is_4bit else "int8",
        kept=_patterns(block, "llm_int8_skip_modules"),
    )


def _compressed_tensors(block: Fields, wide: str) -> Scheme:
    """Groups of modules, each with a format; the group of all Linear modules is the common one."""
    common: str | None = None
    chosen: list[tuple[str, str]] = []
    groups = block.inner("config_groups")
    for name in groups.values:
        group = groups.inner(name)
        form = _stored_format(group)
        for target in _patterns(group, "targets") or ("Linear",):
            if "Linear" in target and "." not in target:
                common = common or form
            else:
                chosen.append((target, form))
    if common is None and not chosen:
        raise block.problem("config_groups", "empty; it says how weights are stored")
    return Scheme(
        place=block.file,
        weights=common or wide,
        kept=_patterns(block, "ignore"),
        chosen=tuple(chosen),
        kv_cache=_kv_cache(block),
    )


def _stored_format(group: Fields) -> str:
    """Format of the weights of one group of modules."""
    weights = group.inner("weights")
    bits, kind = weights.optional_count("num_bits"), weights.value("type")
    size = _group(weights, "group_size")
    if kind == "float" and bits == 8:
        if weights.value("strategy") == "block":
            return "fp8-block"
        return "mxfp8" if size == 32 else "fp8"
    if kind == "float" and bits == 4 and size in (16, 32):
        return "nvfp4" if size == 16 else "mxfp4"
    if kind == "int" and bits:
        if bits == 8 and group.inner("input_activations").value("num_bits") == 8:
            return "int8-w8a8"
        return _integer_format(weights, bits, size, has_zeros=weights.value("symmetric") is False)
    what = f"{bits} bits of type {kind!r:.20} in groups of {size}"
    raise UnsupportedError(f"{group.file}: {weights.section}num_bits: {what} are not known")


_ALGORITHMS: Mapping[str, str] = {
    "FP8": "fp8",
    "FP8_PER_CHANNEL_PER_TOKEN": "fp8",
    "FP8_PB_WO": "fp8-block",
    "FP8_PB_REAL": "fp8-block",
    "FP8_BLOCK_SCALES": "fp8-block",
    "MXFP8": "mxfp8",
    "NVFP4": "nvfp4",
    "NVFP4_AWQ": "nvfp4",
    "W4A16_NVFP4": "nvfp4",
    "W4A8_NVFP4_FP8": "nvfp4",
    "MXFP4": "mxfp4",
    "W4A8_MXFP4_FP8": "mxfp4",
    "W4A16_MXFP4": "mxfp4",
    "W4A16_AWQ": "int4",
    "W4A8_AWQ": "int4",
    "INT4_AWQ": "int4",
    "W8A16": "int8",
    "W8A8_SQ_PER_CHANNEL": "int8-w8a8",
    "INT8_SQ": "int8-w8a8",
}


def _modelopt(block: Fields, wide: str) -> Scheme:
    """ModelOpt: one algorithm for all modules, or a list of modules with an algorithm each."""
    algorithm = block.value("quant_algo")
    kept = _patterns(block, "exclude_modules", "ignore", "modules_to_not_convert")
    if algorithm is None and block.has("config_groups"):
        return dataclasses.replace(_compressed_tensors(block, wide), kept=kept)
    listed = block.inner("quantized_layers")
    chosen = tuple((name, _algorithm_format(listed.inner(name))) for name in listed.values)
    is_mixed = str(algorithm).upper() in ("MIXED_PRECISION", "NONE")
    notes = (
        () if kept or is_mixed else ("no list of excluded modules: every matrix of the layers is taken as quantised",)
    )
    if is_mixed and not chosen and block.has("config_groups"):
        return dataclasses.replace(_compressed_tensors(block, wide), kept=kept)
    return Scheme(
        place=block.file,
        weights=wide if is_mixed else _algorithm_format(block),
        kept=kept,
        chosen=chosen,
        kv_cache=_kv_cache(block),
        assumptions=notes,
    )


def _algorithm_format(block: Fields) -> str:
    name = block.value("quant_algo")
    if name is None:
        raise block.problem("quant_algo", "missing; add it")
    form = _ALGORITHMS.get(str(name).upper())
    if form is None:
        known = ", ".join(_ALGORITHMS)
        raise UnsupportedError(f"{block.file}: {block.section}quant_algo: {name!r:.40} is not known; known: {known}")
    return form


def _quark(block: Fields, _wide: str) -> Scheme:
    """AMD Quark: one format for all modules, others for those that patterns name."""
    common = _quark_format(block.inner("global_quant_config"))
    own = block.inner("layer_quant_config")
    chosen = tuple((pattern, _quark_format(own.inner(pattern))) for pattern in own.values)
    return Scheme(place=block.file, weights=common, kept=_patterns(block, "exclude"), chosen=chosen)


def _quark_format(block: Fields) -> str:
    weights = block.inner("weight")
    kind = weights.value("dtype")
    names = {"fp8_e4m3": "fp8", "fp4": "mxfp4", "int8": "int8-w8a8", "int4": "int4", "uint4": "int4-awq"}
    if kind not in names:
        raise UnsupportedError(
            f"{block.file}: {weights.section}dtype: {kind!r:.40} is not known; known: {', '.join(names)}"
        )
    return names[str(kind)]


def _kv_cache(block: Fields) -> str | None:
    """Format of the cache, where the file fixes it.

    Raises
    ------
    UnsupportedError : if it is not known.
    """
    name = block.value("kv_cache_quant_algo")
    if name is not None and str(name).upper() != "NONE":
        known = {"FP8": "fp8", "NVFP4": "nvfp4", "INT8": "int8"}
        if str(name).upper() not in known:
            what = f"{name!r:.40} is not known; known: {', '.join(known)}"
            raise UnsupportedError(f"{block.file}: {block.section}kv_cache_quant_algo: {what}")
        return known[str(name).upper()]
    scheme = block.inner("kv_cache_scheme")
    bits = scheme.optional_count("num_bits")
    if bits is None:
        return None
    form = {(8, "float"): "fp8", (8, "int"): "int8", (4, "float"): "nvfp4"}.get((bits, str(scheme.value("type"))))
    if form is None:
        raise UnsupportedError(f"{block.file}: {scheme.section}num_bits: a cache of {bits} bits is not known; 8 is")
    return form


_READERS: Mapping[str, Callable[[Fields, str], Scheme]] = {
    "fp8": _fp8,
    "fbgemm-fp8": _fp8,
    "mxfp4": _mxfp4,
    "compressed-tensors": _compressed_tensors,
    "modelopt": _modelopt,
    "modelopt-fp4": _modelopt,
    "modelopt-mixed": _modelopt,
    "awq": _awq,
    "gptq": _gptq,
    "auto-round": _gptq,
    "bitsandbytes": _bitsandbytes,
    "quark": _quark,
}
