"""MONAI's `AutoencoderKL`, those of MONAI GenerativeModels before it, and MAISI's `AutoencoderKlMaisi`.

Their encoders and decoders number all blocks in one list, `encoder.blocks.3.conv1.conv.weight`, in the order of
`medzoo.layers.kl_networks`.
"""

import logging

from medzoo.errors import CheckpointError
from medzoo.zoo.converters.kl_names import Naming, assign
from medzoo.zoo.converters.table import Table, build, required

log = logging.getLogger("medzoo")
ATTENTION = (("attn.to_q", "attn.to_k", "attn.to_v", "attn.out_proj"), ("to_q", "to_k", "to_v", "proj_attn"))
UPSAMPLING = {"nearest": "postconv.conv", "transposed-2": "deconv"}
DEFAULTS = {"num_res_blocks": (2, 2, 2, 2), "norm_num_groups": 32, "norm_eps": 1e-6, "latent_channels": 3}
DEFAULTS |= {"with_encoder_nonlocal_attn": True, "with_decoder_nonlocal_attn": True, "use_convtranspose": False}


def name_of(side, step, network):
    """MONAI's name of a layer: its index among the blocks."""
    first = network.index.get("quantization", -1) + 1 if side == "decoder" else 0
    return f"{side}.blocks.{network.index[step] - first}"


def _naming(maisi, old):
    """Names of MONAI, of GenerativeModels (`old`), or of MAISI, whose convolutions are one level deeper."""
    conv = ".conv.conv" if maisi else ".conv"

    def step_name(side, step, network):
        block = name_of(side, step, network)
        return block + conv if step in ("stem", "head") else block

    if maisi:
        resample = {"down": "conv.conv.conv", "linear": "conv.conv.conv", "transposed-3": "conv.conv.conv"}
    else:
        resample = {"down": "conv.conv", **UPSAMPLING, **({"nearest": "conv.conv"} if old else {})}
    return Naming(
        step_name,
        suffix=conv,
        attention=ATTENTION,
        combined="attn.qkv",
        resample=resample,
        moments=("quant_conv_mu.conv", "quant_conv_log_sigma.conv"),
        post_quantization="post_quant_conv.conv",
    )


def is_maisi(table):
    return "encoder.blocks.0.conv.conv.weight" in table


def _is_old(table):
    """Whether the names are those of MONAI GenerativeModels."""
    attention = any(name.endswith(".to_q.weight") and ".attn." not in name for name in table.arrays)
    return attention or any(_kind(table, f"decoder.blocks.{i}") == "old up" for i in table.indices("decoder.blocks"))


def _kind(table, block):
    """What a block of the list is, by the names in it."""
    if f"{block}.norm1.weight" in table:
        return "block"
    if f"{block}.norm.weight" in table:
        return "attention"
    if f"{block}.deconv.weight" in table:
        return "transposed-2"
    if f"{block}.postconv.conv.weight" in table:
        return "nearest"
    if f"{block}.weight" in table:
        return "norm"
    deeper = f"{block}.conv.conv.conv.weight" if is_maisi(table) else f"{block}.conv.conv.weight"
    if deeper in table:
        return "old up" if block.startswith("decoder.") else "down"
    if f"{block}.conv.weight" in table or f"{block}.conv.conv.weight" in table:
        return "convolution"
    raise CheckpointError(f"{table.where}: {block} is of no kind that MONAI's autoencoders have.")


def _levels(kinds, side, where):
    """`(middle, blocks, attention)` of a list of kinds without its ends; the finest level is the first of blocks."""
    kinds = kinds if side == "decoder" else kinds[::-1]
    # A level with attention has one behind every block, so that only the middle has one between two blocks.
    has_middle = kinds[:3] == ["block", "attention", "block"]
    has_middle = has_middle and not (side == "decoder" and kinds[3:4] == ["attention"])
    middle, rest = ("attention", kinds[3:]) if has_middle else ("none", kinds)
    levels = [[]]
    for kind in rest:
        if kind in ("block", "attention"):
            levels[-1].append(kind)
        else:
            levels.append([])
    blocks = [level.count("block") for level in levels][::-1]
    attention = [level.count("attention") for level in levels][::-1]
    if any(a not in (0, b) for a, b in zip(attention, blocks, strict=True)) or 0 in blocks:
        raise CheckpointError(f"{where}: {side} has {blocks} residual blocks and {attention} attentions in its levels.")
    return middle, blocks, [i for i, count in enumerate(attention) if count]


def arguments_of(table):
    """Return the arguments that names and shapes tell; not groups, epsilon and MAISI's upsampling."""
    found, maisi = {}, is_maisi(table)
    for side, prefix in (("encoder", ""), ("decoder", "decoder_")):
        indices = table.indices(f"{side}.blocks")
        if len(indices) < 4 or indices != list(range(len(indices))):
            raise CheckpointError(f"{table.where}: blocks {indices} in the {side}: tensors are missing.")
        kinds = [_kind(table, f"{side}.blocks.{i}") for i in indices]
        middle, blocks, attention = _levels(kinds[1:-2], side, table.where)
        found |= {
            f"{prefix}middle": middle,
            f"{prefix}blocks" if prefix else "blocks_per_stage": blocks,
            f"{prefix}attention": attention,
        }
        if side == "decoder":
            ups = set(kinds) & {"nearest", "transposed-2", "old up"}
            if not maisi:
                found["upsampling"] = "transposed-2" if ups == {"transposed-2"} else "nearest"
        else:
            found["filters"] = _filters(table, kinds)
    suffix = ".conv.conv" if maisi else ".conv"
    stem = table.shapes[f"encoder.blocks.0{suffix}.weight"]
    out = table.width(f"decoder.blocks.{indices[-1]}{suffix}.weight")
    projected = any(name.endswith(".attn.out_proj.weight") for name in table.arrays)
    return {
        **found,
        "image_shape": [*[None] * (len(stem) - 2), int(stem[1])],
        "out_channels": None if out == stem[1] else out,
        "latent_dim": table.width("quant_conv_mu.conv.weight"),
        "attention_projection": projected,
        **CONSTANT,
    }


CONSTANT = {"final_activation": False, "value_range": [0.0, 1.0]}


def _filters(table, kinds):
    suffix = ".conv.conv" if is_maisi(table) else ".conv"
    widths, last = [], None
    for i, kind in enumerate(kinds):
        if kind == "block":
            last = table.width(f"encoder.blocks.{i}.conv1{suffix}.weight")
        elif kind in ("down", "norm"):
            widths.append(last)
    return widths


def arguments_of_config(config, table):
    """Return the arguments of `AutoencoderKL` for a configuration of MONAI's class.

    Args:
        config: dict. Arguments of MONAI's constructor, numbers instead of a bundle's references.
        table: `Table`. Of GenerativeModels' files, attention has no projection unless the configuration says so.
    """
    c = {**DEFAULTS, **config}
    filters = list(c.get("channels") or c.get("num_channels") or (32, 64, 64, 64))
    levels, maisi = len(filters), is_maisi(table)
    blocks = c["num_res_blocks"]
    blocks = [blocks] * levels if isinstance(blocks, int) else list(blocks)
    flags = list(c.get("attention_levels") or (False, False, True, True))
    attention = [i for i, flag in enumerate(flags) if flag]
    if len(blocks) != levels or len(flags) != levels:
        raise CheckpointError(f"{table.where}: {filters}, {blocks} and {flags} are of different lengths.")
    middle = ["attention" if c[f"with_{side}_nonlocal_attn"] else "none" for side in ("encoder", "decoder")]
    if c["use_convtranspose"]:
        upsampling = "transposed-3" if maisi else "transposed-2"
    else:
        upsampling = "linear" if maisi else "nearest"
    channels, out = c.get("in_channels", 1), c.get("out_channels", c.get("in_channels", 1))
    return {
        "image_shape": [*[None] * c.get("spatial_dims", 3), channels],
        "out_channels": None if out == channels else out,
        "latent_dim": c["latent_channels"],
        "filters": filters,
        "blocks_per_stage": blocks,
        "decoder_blocks": blocks,
        "attention": attention,
        "middle": middle[0],
        "decoder_middle": middle[1],
        "groups": c["norm_num_groups"],
        "epsilon": c["norm_eps"],
        "upsampling": upsampling,
        "attention_projection": c.get("include_fc", not _is_old(table)),
        **CONSTANT,
    }


def convert(arrays, where, config=None, **options):
    """Return an `AutoencoderKL` with the weights of a network of MONAI.

    MONAI's networks work in the range that their training's transforms gave, [0, 1] in the published bundles; another
    one is an option, `value_range`.

    Args:
        arrays: dict of names to arrays.
        where: str. The file, for errors.
        config: dict. Arguments of MONAI's constructor. Without it `groups` and `epsilon`, and for MAISI `upsampling`,
            must be among the options.
        **options: Arguments of `AutoencoderKL` that replace what the configuration says.
    """
    from medzoo.models import AutoencoderKL

    table = Table(arrays, where)
    if is_maisi(table):
        log.warning("%s: NVIDIA licenses MAISI's published weights for non-commercial use only (NCLS v1).", where)
    maisi, old = is_maisi(table), _is_old(table) if not is_maisi(table) else False
    if config is None:
        asked = {"groups": "norm_num_groups, e.g. 32", "epsilon": "norm_eps, e.g. 1e-6"}
        asked |= {"upsampling": '"transposed-3" for use_convtranspose, else "linear"'} if maisi else {}
        required(where, options, **asked)
        found = arguments_of(table)
    else:
        found = arguments_of_config(config, table)
    found |= {"moments": found["latent_dim"], "quantization": True, "decoder_quantization": True}
    model = build(AutoencoderKL, {**found, **options}, table)
    if not model.network["attention_projection"]:  # in the files of GenerativeModels; their networks never use it
        table.ignore([name for name in arrays if ".proj_attn." in name])
    assign(model, table, _naming(maisi, old))
    if maisi and model.image_shape[-1] == 1:  # the range of the published network
        return model, {"intensity": "range", "limits": [-1000.0, 1000.0]}
    return model, {"intensity": "file"}
