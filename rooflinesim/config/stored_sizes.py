"""Tensors that the headers of a checkpoint list -> the model with exactly their bytes, part by part."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rooflinesim.config.tensor_names import Place, Store, layer_number
from rooflinesim.errors import FileError
from rooflinesim.specs.formats import FORMATS, NumberFormat, number_format
from rooflinesim.specs.model import CheckpointFormats, Model, PartName
from rooflinesim.workload.parameters import model_parameters

PARTS: tuple[Store, ...] = ("attention", "mlp", "experts", "shared_experts", "head", "embedding")
_STORES: Mapping[PartName, Store] = {
    "attention": "attention",
    "mlp": "mlp",
    "other": "mlp",
    "experts": "experts",
    "shared_experts": "shared_experts",
    "head": "head",
    "embedding": "embedding",
}
_COUNTED: tuple[Store, ...] = (*PARTS, "vectors")
_RESIDENT: tuple[Store, ...] = ("vision", "draft")
_LIKE_VECTORS: tuple[Store, ...] = ("vectors", "vision", "buffers")
# Types of tensors that hold several narrow values in each element, and the bits per value where nothing tells them.
_PACKED = {"u8": 4, "i32": 4, "u32": 4, "i64": 4, "i8": 8, "i16": 8}
_WEIGHT_ONLY = FORMATS["int4"].math


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """One tensor as a header lists it; `form` is the name of its element type."""

    name: str
    form: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def elements(self) -> int:
        """Elements of the stored type."""
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclasses.dataclass(kw_only=True)
class _Share:
    """Bytes and parameters of one store, and the bytes of each type among them."""

    bytes: int = 0
    parameters: int = 0
    forms: dict[str, int] = dataclasses.field(default_factory=dict)

    def add(self, other: "_Share") -> None:
        """Take in another share."""
        self.bytes += other.bytes
        self.parameters += other.parameters
        for form, size in other.forms.items():
            self.forms[form] = self.forms.get(form, 0) + size

    @property
    def form(self) -> str:
        """Type of most of the bytes."""
        return max(self.forms, key=lambda form: self.forms[form])


PlaceRule = Callable[[str, tuple[int, ...]], Place]
_Shares = Mapping[Store, _Share]
_Named = Mapping[Store, NumberFormat | None]


def with_stored_sizes(
    model: Model, tensors: Iterable[StoredTensor], place_of: PlaceRule, file: str, stored_as: str | None = None
) -> Model:
    """A model whose resident bytes are those of the tensors; what differs from its counts is an assumption.

    Each part keeps its counts and gets the mean bits that its tensors take, scales included. Vision towers
    and draft layers become resident parameters. `stored_as` is set where no config names formats beside the
    headers: what the file calls its own.

    Raises
    ------
    FileError : if there are no bytes to share out.
    """
    named = _named_formats(model.checkpoint, is_told=stored_as is None)
    against = "config" if stored_as is None else "metadata"
    shares = _shares(model, tensors, place_of, named)
    model, notes = _tied_as_stored(model, shares, against)
    shares = _tables_joined(shares, model)
    model, more = _with_extras(model, shares)
    counted = counted_parameters(model)
    notes += (*more, *_differences(shares, counted, against))
    whole, evened = _evened(shares, counted)
    if not any(whole[store].bytes for store in _COUNTED):
        raise FileError(f"{file}: its headers list no weights; give the file that holds them")
    exact, told = _exact_formats(named, whole, counted)
    checkpoint = dataclasses.replace(model.checkpoint, exact=exact)
    if stored_as is not None:
        # A name that only the file knows: parts that the model lacks need a format too.
        some = next(iter(exact.values()))
        every = {part: exact.get(part, some) for part in (*PARTS, *exact)}
        checkpoint = dataclasses.replace(checkpoint, weights=stored_as, exact=every)
    return dataclasses.replace(model, checkpoint=checkpoint, assumptions=(*model.assumptions, *notes, *evened, *told))


def counted_parameters(model: Model) -> Mapping[Store, int]:
    """Parameters of each store as the model counts them; vectors are those of all parts, and the router."""
    parts = model_parameters(model)
    counted: dict[Store, int] = dict.fromkeys(_COUNTED, 0)
    for part, elements in parts.items():
        counted["vectors"] += elements.vectors
        counted[_STORES.get(part, "vectors")] += elements.matrices
    return counted


def _shares(model: Model, tensors: Iterable[StoredTensor], place_of: PlaceRule, named: _Named) -> dict[Store, _Share]:
    """Bytes and parameters by store; layers after the last one are draft layers where the model has some."""
    shares = {store: _Share() for store in named}
    for tensor in tensors:
        place = place_of(tensor.name, tensor.shape)
        store = place.store
        if model.draft_layers and store not in ("vision", "buffers"):
            layer = layer_number(tensor.name)
            store = "draft" if layer is not None and layer >= model.layer_count else store
        share = shares[store]
        share.bytes += tensor.bytes
        if not place.is_scale and tensor.bytes:
            share.parameters += _parameters(tensor, named[store])
            share.forms[tensor.form] = share.forms.get(tensor.form, 0) + tensor.bytes
    return shares


def _named_formats(stored: CheckpointFormats, *, is_told: bool) -> _Named:
    """Formats that the checkpoint is said to store its parts in; vectors and what goes with them always have one."""
    stores: tuple[Store, ...] = (*_COUNTED, *_RESIDENT, "tables", "buffers")
    named: dict[Store, NumberFormat | None] = dict.fromkeys(stores)
    if is_told:
        named = {store: number_format(getattr(stored, store, None) or stored.weights) for store in stores}
    return {**named, **dict.fromkeys(_LIKE_VECTORS, number_format(stored.vectors))}


def _parameters(tensor: StoredTensor, named: NumberFormat | None) -> int:
    """Values that a tensor holds, packed ones counted one by one."""
    if tensor.form not in _PACKED:
        return tensor.elements
    bits = named.value_bits if named and named.value_bits < 16 else _PACKED[tensor.form]
    return round(tensor.bytes * 8 / bits)


def _tied_as_stored(model: Model, shares: _Shares, against: str) -> tuple[Model, tuple[str, ...]]:
    """The model with as many tables of tokens as the headers list."""
    is_tied = not (shares["head"].bytes and shares["embedding"].bytes)
    if is_tied == model.has_tied_embeddings:
        return model, ()
    said = "no head of its own" if is_tied else "a head beside the embedding"
    note = f"headers hold {said}, the {against} says the opposite: the headers count"
    return dataclasses.replace(model, has_tied_embeddings=is_tied), (note,)


def _tables_joined(shares: _Shares, model: Model) -> dict[Store, _Share]:
    """Stores as the model counts them: a tied table of tokens is the head's."""
    joined = {store: dataclasses.replace(share, forms=dict(share.forms)) for store, share in shares.items()}
    tables = joined.pop("tables")
    if model.has_tied_embeddings:
        joined["head"].add(joined["embedding"])
        joined["embedding"] = tables
    else:
        joined["embedding"].add(tables)
    return joined


def _with_extras(model: Model, shares: dict[Store, _Share]) -> tuple[Model, tuple[str, ...]]:
    """The model with vision, draft and uncounted parts as the headers list them."""
    counted = counted_parameters(model)
    changes: dict[str, Any] = {}
    notes, stale = [], []
    if shares["vision"].bytes:
        changes["vision_parameters"] = max(1, shares["vision"].parameters)
        stale.append("vision tower is not counted")
    if shares["draft"].bytes:
        changes["draft_parameters"] = max(1, shares["draft"].parameters)
        stale.append("draft layers for multi-token prediction are not counted")
    if shares["embedding"].bytes and not counted["embedding"]:
        changes["position_parameters"] = max(1, shares["embedding"].parameters)
        notes.append(f"headers hold gathered tables of {shares['embedding'].bytes:,} B, the shape none: resident only")
    for part in ("attention", "experts", "shared_experts"):
        if shares[part].bytes and not counted[part]:
            notes.append(f"headers hold {part} of {shares[part].bytes:,} B, the shape none: counted as mlp")
            shares["mlp"].add(shares.pop(part))
            shares[part] = _Share()
    if shares["mlp"].bytes and not counted["mlp"]:
        changes["other_parameters"] = max(1, shares["mlp"].parameters)
        notes.append(f"headers hold {shares['mlp'].bytes:,} B outside the parts of the shape: taken as streamed")
    if shares["buffers"].bytes:
        notes.append(f"masks and rotary tables of {shares['buffers'].bytes:,} B in the file are no weights: left out")
    kept = tuple(one for one in model.assumptions if not any(one.startswith(mark) for mark in stale))
    return dataclasses.replace(model, assumptions=kept, **changes), tuple(notes)


def _differences(shares: _Shares, counted: Mapping[Store, int], against: str) -> tuple[str, ...]:
    """Say where the headers hold more or fewer parameters than the config."""
    by_store = {store: shares[store].parameters - counted[store] for store in _COUNTED}
    listed = ", ".join(f"{store} {difference:+,}" for store, difference in by_store.items() if difference)
    total = sum(by_store.values())
    if not listed:
        return ()
    how = f"{abs(total):,} parameters {'more' if total > 0 else 'fewer'} than" if total else "other parameters than"
    return (f"headers hold {how} the {against} ({listed}): bytes are those of the headers",)


def _evened(shares: _Shares, counted: Mapping[Store, int]) -> tuple[_Shares, tuple[str, ...]]:
    """The shares, spread evenly over all parameters where a part of the model finds no tensor."""
    missing = [store for store in _COUNTED if counted[store] and not shares[store].bytes]
    whole, parameters = _Share(), sum(counted.values())
    for store in _COUNTED:
        whole.add(shares[store])
    if not missing or not whole.bytes:
        return shares, ()
    even = {
        store: _Share(bytes=whole.bytes * count // parameters, parameters=count, forms=whole.forms)
        for store, count in counted.items()
    }
    even["head"].bytes += whole.bytes - sum(share.bytes for share in even.values())
    note = f"headers name no tensor of {', '.join(missing)}: all bytes are spread evenly over the parameters"
    return {**shares, **even}, (note,)


def _exact_formats(
    named: _Named, shares: _Shares, counted: Mapping[Store, int]
) -> tuple[dict[str, NumberFormat], tuple[str, ...]]:
    """Formats of the parts as the headers hold them, and where they contradict the config."""
    exact: dict[str, NumberFormat] = {}
    notes: list[str] = []
    sizes = {**counted, **{store: max(1, shares[store].parameters) for store in _RESIDENT}}
    for store in (*_COUNTED, *_RESIDENT):
        share, name = shares[store], named[store]
        if not share.bytes or not sizes[store]:
            continue
        told = _told_format(share, name)
        form = _exact(share, told, 8 * share.bytes / sizes[store])
        if store == "vectors" and name:
            # Norms kept in 32 bits are no reason to multiply in them.
            form = dataclasses.replace(form, math=name.math)
        if form != name:
            exact[store] = form
        if store in PARTS and name and told and name.value_bits != told.value_bits:
            notes.append(f"headers hold {store} in {told.name}, the config says {name.name}: the headers count")
    return exact, tuple(notes)


def _told_format(share: _Share, named: NumberFormat | None) -> NumberFormat | None:
    """Known format of most of a share; a type that packs values tells too little, so that the config's name counts."""
    form = share.form if share.forms else "u8"
    if form in _PACKED:
        return named if named and named.value_bits < 16 else FORMATS["int8" if form == "i8" else "int4"]
    bits = {"fp8": 8, "fp4": 4}.get(form)
    if named and named.value_bits == bits and any(math in ("fp8", "fp4") for math in named.math):
        return named
    return FORMATS.get(form)


def _exact(share: _Share, told: NumberFormat | None, bits: float) -> NumberFormat:
    """A format of exactly so many bits; its name says where they are not its own."""
    if told is None:
        name = share.form if len(share.forms) == 1 else f"{share.form} mix"
        return NumberFormat(name=name, value_bits=bits, math=_WEIGHT_ONLY, covers_head=True)
    if bits == told.bits:
        return told
    is_own = abs(bits / told.bits - 1) < 0.01 and len(share.forms) == 1
    name = told.name if is_own else f"{told.name} mix"
    return dataclasses.replace(told, name=name, value_bits=bits, group=0, scale_bits=0.0, zero_bits=0.0)
