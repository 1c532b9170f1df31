"""The stored cases of tests/fixtures/make_converter_fixtures.py, written as the sources' files, and compared."""

import json
from pathlib import Path

import numpy as np
from converter_weights import image, weight

FOLDER = Path(__file__).parent / "fixtures" / "converters"
CASES = sorted(path.name for path in FOLDER.iterdir())
SIZES = {2: {"": (32, 24), "_odd": (25, 31)}, 3: {"": (8, 12, 8), "_odd": (9, 8, 11)}}
KL = [name for name in CASES if not name.startswith(("vqvae", "resnet", "diffusers_tiny"))]


def case_of(name, root=None):
    """The case and its outputs."""
    return json.loads(((root or FOLDER) / name / "case.json").read_text()), np.load(
        (root or FOLDER) / name / "outputs.npz"
    )


def arrays_of(case):
    """The weights of a case by the source's names."""
    return {name: weight(name, tuple(shape)) for name, shape in case["shapes"].items()}


def save_safetensors(arrays, path):
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, path)
    return path


def write(name, folder, arrays=None, root=None):
    """Write a case in the source's own layout; returns what `medzoo.load` takes: `(path, arguments)`."""
    case, _ = case_of(name, root)
    arrays = arrays_of(case) if arrays is None else arrays
    config = case["config"]
    folder.mkdir(parents=True, exist_ok=True)
    if case["source"] == "diffusers":
        (folder / "config.json").write_text(json.dumps(config))
        save_safetensors(arrays, folder / "diffusion_pytorch_model.safetensors")
        return folder, {}
    if case["source"] == "medvae":
        import yaml

        yaml_name, file = case["files"]
        save_safetensors(arrays, folder / file)
        (folder / yaml_name).write_text(yaml.safe_dump(config))
        return folder, {"variant": case["variant"]}
    if case["source"] == "monai":
        bundle = {"network_def": {"_target_": case["target"], **config}}
        (folder / "configs").mkdir(exist_ok=True)
        (folder / "configs" / "inference.json").write_text(json.dumps(bundle))
        save_safetensors(arrays, folder / "models" / "model.pt")
        return folder, {}
    path = save_safetensors(arrays, folder / "model.safetensors")
    return path, {"source": case["source"], **({"config": config} if config else {})}


def channels_last(values):
    return np.moveaxis(values, 1, -1)


def inputs(case, size):
    """Images of a case in [0, 1], channels last."""
    return channels_last((image((2 if size[0] < 224 else 1, case["channels"], *size), case["seed"]) + 1) / 2)


def errors(model, name, root=None):
    """Largest difference of each output from the source's, as a share of the output's range."""
    from keras import ops

    case, outputs = case_of(name, root)
    low, high = case["range"]
    found = {}

    def compare(key, values):
        expected = channels_last(outputs[key])
        values = ops.convert_to_numpy(values)
        assert values.shape == expected.shape, (key, values.shape, expected.shape)
        found[key] = float(np.abs(values - expected).max() / max(1.0, np.ptp(expected)))

    for tag, size in SIZES[case["axes"]].items():
        if f"mean{tag}" not in outputs:
            continue
        x = inputs(case, size)
        mean, log_variance = model.posterior(ops.convert_to_tensor(x))
        compare(f"mean{tag}", mean)
        compare(f"logvar{tag}", log_variance)
        z = ops.convert_to_tensor(channels_last(outputs[f"mean{tag}"]))
        compare(f"decoded{tag}", low + (high - low) * model.decoder(z))
        if f"projected{tag}" in outputs:
            compare(f"projected{tag}", model.project(z))
    return found
