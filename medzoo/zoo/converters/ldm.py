"""The original Latent Diffusion layout (CompVis), which MedVAE shares: `encoder.down.0.block.0.conv1.weight`."""

import numpy as np

from medzoo.errors import CheckpointError
from medzoo.zoo.converters.kl_names import Naming, assign
from medzoo.zoo.converters.table import Table, build

STEPS = {"stem": "conv_in", "norm": "norm_out", "head": "conv_out", "middle_attention": "mid.attn_1"}
STEPS |= {"middle_block_0": "mid.block_1", "middle_block_1": "mid.block_2"}
PARTS = {"block": "block", "attention": "attn", "down": "downsample", "up": "upsample"}
# What a whole training program keeps beside the autoencoder.
OTHERS = ("loss.", "discriminator.", "model_ema.", "cond_stage_model.", "model.diffusion_model.")
PREFIXES = ("first_stage_model.", "module.", "_orig_mod.", "model.", "autoencoder.", "vae.")


def name_of(side, step, network):
    """Latent Diffusion's name of a layer: `level_1_block_0` of the encoder is `encoder.down.1.block.0`."""
    if step in STEPS:
        return f"{side}.{STEPS[step]}"
    _, level, part, *index = step.split("_")
    folder = "down" if side == "encoder" else "up"
    return ".".join([side, folder, level, PARTS[part], *index])


NAMES = Naming(name_of, resample={"down": "conv", "nearest": "conv"})


def without_prefix(arrays):
    """Return the weights of the autoencoder alone, under their names in it, out of a whole program's."""
    for prefix in PREFIXES:
        inner = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
        if any(name.startswith("encoder.") for name in inner):
            arrays = inner
    return {name: value for name, value in arrays.items() if not name.startswith(OTHERS)}


def merged(arrays, where):
    """Return weights whose low-rank adapters (LoRA) are added to the layers they adapt: `W + up @ down`."""
    arrays = dict(arrays)
    for key in [name.removesuffix(".lora_down.weight") for name in arrays if name.endswith(".lora_down.weight")]:
        kind = next((kind for kind in ("conv", "linear") if f"{key}.{kind}.weight" in arrays), None)
        if kind is None or f"{key}.lora_up.weight" not in arrays:
            raise CheckpointError(f"{where}: {key} has a low-rank adapter and no layer that it adapts.")
        down, up = (arrays.pop(f"{key}.lora_{n}.weight").astype("float64") for n in ("down", "up"))
        weight = arrays.pop(f"{key}.{kind}.weight")
        up = up.reshape(len(up), -1)
        if f"{key}.selector.weight" in arrays:
            selector = arrays.pop(f"{key}.selector.weight").astype("float64")
            up = up @ selector.reshape(len(selector), -1)
        change = up @ down.reshape(len(down), -1)
        if change.size != weight.size:
            raise CheckpointError(f"{where}: the adapter of {key} has another shape than its layer.")
        arrays[f"{key}.weight"] = (weight + change.reshape(weight.shape)).astype("float32")
        if f"{key}.{kind}.bias" in arrays:
            arrays[f"{key}.bias"] = arrays.pop(f"{key}.{kind}.bias")
    return arrays


def arguments_of(table, config=None):
    """Return the arguments of `AutoencoderKL` for a table in this layout.

    Args:
        table: `Table`.
        config: dict. `ddconfig` of Latent Diffusion, if there is one; it must agree with the tensors.
    """
    levels, decoder_levels = table.indices("encoder.down"), table.indices("decoder.up")
    if not levels or decoder_levels != levels:
        raise CheckpointError(f"{table.where}: has no encoder.down.0.block.0 and decoder.up.0.block.0.")
    blocks = [len(table.indices(f"encoder.down.{i}.block")) for i in levels]
    decoder_blocks = [len(table.indices(f"decoder.up.{i}.block")) for i in levels]
    filters = [table.width(f"encoder.down.{i}.block.0.conv1.weight") for i in levels]
    last = levels[-1]
    has = {side: f"{side}.mid.attn_1.q.weight" in table for side in ("encoder", "decoder")}
    found = {
        "filters": filters,
        "blocks_per_stage": blocks,
        "decoder_blocks": decoder_blocks,
        "stem": table.width("encoder.conv_in.weight"),
        "attention": [i for i in levels if f"encoder.down.{i}.attn.0.q.weight" in table],
        "decoder_attention": [i for i in levels if f"decoder.up.{i}.attn.0.q.weight" in table],
        "middle": "attention" if has["encoder"] else "residual",
        "decoder_middle": "attention" if has["decoder"] else "residual",
        "learned_resampling": last == 0 or "encoder.down.0.downsample.conv.weight" in table,
        "quantization": "quant_conv.weight" in table,
        "decoder_quantization": "post_quant_conv.weight" in table,
        "moments": table.width("encoder.conv_out.weight"),
        "groups": 32,  # both constants of the code, whatever the widths
        "epsilon": 1e-6,
        "value_range": [-1.0, 1.0],
        "projection": "channel_proj.weight" in table,
    }
    shape = table.shapes["encoder.conv_in.weight"]
    found["image_shape"] = [*[None] * (len(shape) - 2), int(shape[1])]
    moments = table.width("quant_conv.weight") if found["quantization"] else found["moments"]
    found["latent_dim"] = moments // 2
    found["decoder_width"] = table.width("post_quant_conv.weight") if found["decoder_quantization"] else None
    channels = table.width("decoder.conv_out.weight")
    found["out_channels"] = None if channels == shape[1] else channels
    _check_config(table, found, config or {})
    return found


def _check_config(table, found, config):
    """Compare what a configuration says with the tensors."""
    width, factors, double = config.get("ch"), config.get("ch_mult"), config.get("double_z", True)
    expected = {
        "filters": [width * factor for factor in factors] if width and factors else None,
        "blocks_per_stage": [config["num_res_blocks"]] * len(found["filters"]) if "num_res_blocks" in config else None,
        "moments": config["z_channels"] * (2 if config.get("double_z", True) else 1)
        if "z_channels" in config
        else None,
    }
    for name, value in expected.items():
        if value is not None and list(np.atleast_1d(value)) != list(np.atleast_1d(found[name])):
            raise CheckpointError(
                f"{table.where}: the configuration says {name}={value}, the tensors {found[name]}: tensors are "
                "missing, or it belongs to another network."
            )
    counts = found["blocks_per_stage"]
    if [n + 1 for n in counts] != found["decoder_blocks"] or len(set(counts)) > 1:
        raise CheckpointError(
            f"{table.where}: has {found['blocks_per_stage']} residual blocks in the encoder's levels and "
            f"{found['decoder_blocks']} in the decoder's: tensors are missing. Latent Diffusion "
            "has as many in each level, and one more there."
        )
    if not double:
        raise CheckpointError(f"{table.where}: double_z=False: a network without a variance.")


def convert(arrays, where, config=None, **options):
    """Return an `AutoencoderKL` with the weights of a Latent Diffusion checkpoint, and its preprocessing.

    Args:
        arrays: dict of names to arrays, those of the whole checkpoint.
        where: str. The file, for errors.
        config: dict. The yaml configuration, if there is one; `ddconfig` is looked for in it.
        **options: Arguments of `AutoencoderKL` that replace what is read off, e.g. `scaling_factor`.
    """
    from medzoo.models import AutoencoderKL

    scale = arrays.get("scale_factor")
    table = Table(merged(without_prefix(arrays), where), where)
    table.ignore(["scale_factor"])
    found = arguments_of(table, ddconfig_of(config))
    if scale is not None and np.size(scale) == 1:
        found["scaling_factor"] = float(np.ravel(scale)[0])
    model = build(AutoencoderKL, {**found, **options}, table)
    assign(model, table, NAMES)
    return model, {"intensity": "file"}


def ddconfig_of(config):
    """Return the `ddconfig` in a configuration of Latent Diffusion or MedVAE, wherever it is; `{}` without one."""
    if not isinstance(config, dict):
        return {}
    if isinstance(config.get("ddconfig"), dict):
        return config["ddconfig"]
    for key in ("first_stage_config", "model", "params"):
        if found := ddconfig_of(config.get(key)):
            return found
    return config if "ch_mult" in config else {}
