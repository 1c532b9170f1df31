"""The data sets that weights were trained on: where from, under which licence, how to cite."""

WANG = (
    "- Wang, X. et al. (2017). ChestX-ray8: Hospital-scale chest X-ray database and benchmarks on "
    "weakly-supervised classification and localization of common thorax diseases. CVPR. arXiv:1705.02315"
)

MEDICAL_MNIST = {
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

PNEUMONIA_MNIST = {  # measured on, not trained on
    "file": "pneumoniamnist_28.npz",
    "cite": (
        "- Yang, J. et al. (2023). MedMNIST v2: a large-scale lightweight benchmark for 2D and 3D biomedical image "
        "classification. Scientific Data 10, 41. arXiv:2110.14795 (PneumoniaMNIST, CC BY 4.0)\n"
        "- Kermany, D. S. et al. (2018). Identifying medical diagnoses and treatable diseases by image-based deep "
        "learning. Cell 172, 1122-1131"
    ),
}
