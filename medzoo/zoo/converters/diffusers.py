"""Hugging Face diffusers: `AutoencoderKL` of Stable Diffusion, SDXL and FLUX; `AutoencoderTiny` is in `tiny`.

A folder holds `config.json` with `_class_name` and `diffusion_pytorch_model.safetensors` (or `.bin`).
"""

from typing import Any

from medzoo.errors import CheckpointError
from medzoo.zoo.converters.kl_names import Naming, assign
from medzoo.zoo.converters.table import Table, build, required

STEPS = {"stem": "conv_in", "norm": "conv_norm_out", "head": "conv_out", "middle_attention": "mid_block.attentions.0"}
STEPS |= {"middle_block_0": "mid_block.resnets.0", "middle_block_1": "mid_block.resnets.1"}
PARTS = {"block": "resnets", "attention": "attentions", "down": "downsamplers.0", "up": "upsamplers.0"}
DOWN, UP = ("DownEncoderBlock2D", "AttnDownEncoderBlock2D"), ("UpDecoderBlock2D", "AttnUpDecoderBlock2D")
# Defaults of diffusers' own constructor, for what a config.json leaves out.
DEFAULTS: dict[str, Any] = {"in_channels": 3, "out_channels": 3, "layers_per_block": 1, "latent_channels": 4}
DEFAULTS |= {"norm_num_groups": 32}
DEFAULTS |= {"block_out_channels": [64], "down_block_types": DOWN[:1], "up_block_types": UP[:1], "act_fn": "silu"}
DEFAULTS |= {"scaling_factor": 0.18215, "shift_factor": None, "use_quant_conv": True, "use_post_quant_conv": True}
DEFAULTS |= {"mid_block_add_attention": True}


def name_of(side, step, network):
    """diffusers' name of a layer; its decoder counts levels from the coarsest."""
    if step in STEPS:
        return f"{side}.{STEPS[step]}"
    _, level, part, *index = step.split("_")
    if side == "decoder":
        level = str(len(network.filters) - 1 - int(level))
    return ".".join([side, "down_blocks" if side == "encoder" else "up_blocks", level, PARTS[part], *index])


NAMES = Naming(
    name_of,
    shortcut="conv_shortcut",
    norm="group_norm",
    attention=(("to_q", "to_k", "to_v", "to_out.0"), ("query", "key", "value", "proj_attn")),
    resample={"down": "conv", "nearest": "conv"},
)


def arguments_of_config(config, where):
    """Return the arguments of `AutoencoderKL` for a diffusers configuration."""
    c = {**DEFAULTS, **config}
    down, up = list(c["down_block_types"]), list(c["up_block_types"])
    filters = list(c["block_out_channels"])
    if c["act_fn"] != "silu" or set(down) - set(DOWN) or set(up) - set(UP) or not len(down) == len(up) == len(filters):
        raise CheckpointError(
            f"{where}: blocks {down} and {up}, activation {c['act_fn']!r}. Expected one of {', '.join(DOWN)} and "
            f"one of {', '.join(UP)} per level of {filters}, and silu."
        )
    n, last = c["layers_per_block"], len(filters) - 1
    channels = c["in_channels"]
    return {
        "image_shape": [None, None, channels],
        "out_channels": None if c["out_channels"] == channels else c["out_channels"],
        "latent_dim": c["latent_channels"],
        "filters": filters,
        "blocks_per_stage": n,
        "decoder_blocks": [n + 1] * len(filters),
        "attention": [i for i, kind in enumerate(down) if kind == DOWN[1]],
        "decoder_attention": sorted(last - i for i, kind in enumerate(up) if kind == UP[1]),
        "middle": "attention" if c["mid_block_add_attention"] else "residual",
        "groups": c["norm_num_groups"],
        "epsilon": 1e-6,
        "quantization": c["use_quant_conv"],
        "decoder_quantization": c["use_post_quant_conv"],
        "value_range": [-1.0, 1.0],
        "scaling_factor": c["scaling_factor"],
        "shift_factor": c["shift_factor"] or 0.0,
    }


def arguments_of(table):
    """Return the arguments of `AutoencoderKL` that names and shapes tell; not groups and scaling."""
    levels = table.indices("encoder.down_blocks")
    last = len(levels) - 1
    blocks = [len(table.indices(f"encoder.down_blocks.{i}.resnets")) for i in levels]
    decoder_blocks = [len(table.indices(f"decoder.up_blocks.{last - i}.resnets")) for i in levels]
    if not levels or table.indices("decoder.up_blocks") != levels or len(set(blocks)) > 1:
        raise CheckpointError(f"{table.where}: has residual blocks {blocks} and {decoder_blocks}: tensors are missing.")
    channels, out = table.shapes["encoder.conv_in.weight"][1], table.width("decoder.conv_out.weight")
    moments = table.width("encoder.conv_out.weight")
    return {
        "image_shape": [None, None, int(channels)],
        "out_channels": None if out == channels else out,
        "latent_dim": moments // 2,
        "filters": [table.width(f"encoder.down_blocks.{i}.resnets.0.conv1.weight") for i in levels],
        "blocks_per_stage": blocks,
        "decoder_blocks": decoder_blocks,
        "attention": [i for i in levels if table.indices(f"encoder.down_blocks.{i}.attentions")],
        "decoder_attention": [i for i in levels if table.indices(f"decoder.up_blocks.{last - i}.attentions")],
        "middle": "attention" if table.indices("encoder.mid_block.attentions") else "residual",
        "quantization": "quant_conv.weight" in table,
        "decoder_quantization": "post_quant_conv.weight" in table,
        "epsilon": 1e-6,
        "value_range": [-1.0, 1.0],
    }


def convert(arrays, where, config=None, **options):
    """Return an `AutoencoderKL` with diffusers' weights, and its preprocessing.

    Images are in [-1, 1] inside the network. A gray file becomes three equal channels, a color file keeps its own.
    `scaling_factor` and `shift_factor` are attributes; `force_upcast` needs nothing here, as weights are float32.

    Args:
        arrays: dict of names to arrays.
        where: str. The file, for errors.
        config: dict. `config.json`. Without it `groups` and `scaling_factor` must be among the options.
        **options: Arguments of `AutoencoderKL` that replace what the configuration says.
    """
    from medzoo.models import AutoencoderKL

    table = Table(arrays, where)
    if config is None:
        required(where, options, groups="norm_num_groups, e.g. 32", scaling_factor="e.g. 0.18215")
        found = arguments_of(table)
    else:
        found = arguments_of_config(config, where)
    model = build(AutoencoderKL, {**found, **options}, table)
    assign(model, table, NAMES)
    return model, {"intensity": "file"}
