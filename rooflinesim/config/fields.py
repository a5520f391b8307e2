"""Checked access to the keys of a model's configuration file, whatever a family calls them."""

import dataclasses
from collections.abc import Mapping, Sequence

from rooflinesim.errors import ProfileError

# Names that different families give to the same thing, the most common one first.
SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "hidden_size": ("n_embd", "d_model"),
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    "num_attention_heads": ("n_head", "n_heads"),
    "num_key_value_heads": ("num_kv_heads", "num_attention_groups"),
    "intermediate_size": ("n_inner", "ffn_dim", "ffn_hidden_size"),
    "vocab_size": ("padded_vocab_size",),
    "max_position_embeddings": ("n_positions", "max_seq_len", "model_max_length", "seq_length"),
    "num_experts": ("n_routed_experts", "num_local_experts", "moe_num_experts"),
    "num_experts_per_tok": (
        "num_experts_per_token",
        "experts_per_token",
        "top_k_experts",
        "moe_k",
        "moe_topk",
        "moe_top_k",
        "num_selected_experts",
    ),
    "moe_intermediate_size": ("expert_ffn_hidden_size", "expert_intermediate_size"),
    "num_shared_experts": ("n_shared_experts", "moe_num_shared_experts", "num_shared_expert"),
    "shared_expert_intermediate_size": (
        "moe_shared_expert_intermediate_size",
        "shared_intermediate_size",
        "share_expert_dim",
    ),
    "latent_expert_size": ("moe_latent_size", "routed_expert_hidden_size"),
    "draft_layers": (
        "num_nextn_predict_layers",
        "mtp_num_hidden_layers",
        "num_mtp_modules",
        "num_mtp_layers",
    ),
    "first_k_dense_replace": ("num_dense_layers", "moe_layer_start_index"),
    "layer_types": ("layers_block_type",),
    "sliding_window": ("attention_window_size",),
    "mamba_groups": ("mamba_n_groups", "n_groups"),
    "mamba_state": ("ssm_state_size", "mamba_d_state", "state_size"),
    "mamba_kernel": ("conv_kernel", "mamba_d_conv", "d_conv"),
    "mamba_expand": ("expand",),
    "mamba_heads": ("mamba_num_heads", "mamba_n_heads", "n_mamba_heads"),
    "mamba_head_size": ("mamba_head_dim", "mamba_d_head", "mamba_headdim"),
    "mamba_rank": ("mamba_dt_rank", "time_step_rank"),
    "mamba_bias": ("mamba_proj_bias", "use_bias"),
    "mamba_conv_bias": ("use_conv_bias",),
}
MAXIMUM_WIDTH = 10_000_000
MAXIMUM: Mapping[str, int] = {
    "num_hidden_layers": 2_000,
    "num_experts": 100_000,
    "max_position_embeddings": 10_000_000_000,
    "sliding_window": 10_000_000_000,
    "attention_chunk_size": 10_000_000_000,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fields:
    """Keys of one object of a configuration file, with the defaults of its family.

    A key is looked up under the names that the family has for it, or else under its own and the usual
    spellings; null counts as absent. `section` is where in the file the object stands.
    """

    file: str
    values: Mapping[str, object]
    spellings: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    defaults: Mapping[str, object] = dataclasses.field(default_factory=dict)
    section: str = ""

    def spelling(self, key: str) -> str | None:
        """The name under which the file gives a key, if it does."""
        names = self.spellings.get(key) or (key, *SPELLINGS.get(key, ()))
        return next((name for name in names if self.values.get(name) is not None), None)

    def value(self, key: str) -> object:
        """What the file or the family says about a key; None where neither does."""
        name = self.spelling(key)
        return self.defaults.get(key) if name is None else self.values[name]

    def has(self, key: str) -> bool:
        """Whether the file or the family gives a key."""
        return self.value(key) is not None

    def problem(self, key: str, what: str) -> ProfileError:
        """An error about one key of the file."""
        return ProfileError([f"{self.file}: {self.section}{self.spelling(key) or key}: {what}"])

    def count(self, key: str, minimum: int = 1) -> int:
        """A whole number that must be there.

        Raises
        ------
        ProfileError : if it is missing, no whole number, or out of range.
        """
        found = self.optional_count(key, minimum)
        if found is None:
            what = "null; write a whole number" if key in self.values else "missing; add it to the file"
            raise self.problem(key, what)
        return found

    def optional_count(self, key: str, minimum: int = 1) -> int | None:
        """A whole number, None where it is absent.

        Raises
        ------
        ProfileError : if it is no whole number or out of range.
        """
        value = self.value(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.problem(key, f"{value!r:.60} is no whole number; write a plain count")
        limit = MAXIMUM.get(key, MAXIMUM_WIDTH)
        if value < minimum:
            raise self.problem(key, f"{_shown(value)} is too small; it must be at least {minimum}")
        if value > limit:
            raise self.problem(key, f"{_shown(value)} is too large; at most {limit:,} is read")
        return value

    def quantity(self, key: str, default: int) -> int:
        """A whole number from 0, with a default of its own."""
        found = self.optional_count(key, 0)
        return default if found is None else found

    def flag(self, key: str) -> bool:
        """A claim that is true or false; absent is false.

        Raises
        ------
        ProfileError : if it is neither.
        """
        value = self.value(key)
        if value is None:
            return False
        if not isinstance(value, bool) and value not in (0, 1):
            raise self.problem(key, f"{value!r:.60} is neither true nor false")
        return bool(value)

    def sequence(self, key: str) -> Sequence[object] | None:
        """A list, None where it is absent.

        Raises
        ------
        ProfileError : if it is no list.
        """
        value = self.value(key)
        if value is None:
            return None
        if not isinstance(value, (list, tuple)):
            raise self.problem(key, f"{value!r:.60} is no list")
        return value

    def per_layer(self, key: str, layers: int) -> Sequence[object] | None:
        """A list with an entry for every layer, None where it is absent.

        Entries past the last layer belong to draft layers.

        Raises
        ------
        ProfileError : if it is no list or has too few entries.
        """
        entries = self.sequence(key)
        if entries is not None and len(entries) < layers:
            raise self.problem(key, f"{len(entries)} entries for {layers} layers; give one per layer")
        return entries

    def inner(self, key: str) -> "Fields":
        """The object that stands under a key; empty where it is absent.

        Raises
        ------
        ProfileError : if it is no object.
        """
        value = self.value(key)
        if value is not None and not isinstance(value, dict):
            raise self.problem(key, f"{value!r:.60} is no object")
        section = f"{self.section}{self.spelling(key) or key}."
        return Fields(file=self.file, values=value or {}, spellings=self.spellings, section=section)


def _shown(value: int) -> str:
    """A number as an error message shows it, however long it is."""
    return f"{value:,}" if abs(value) < 10**18 else f"a number of {value.bit_length():,} bits"
