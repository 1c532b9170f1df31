"""The data sets that weights were trained on: where from, under which licence, how to cite."""

MEDICAL_MNIST = {
    "text": (
        "Medical MNIST (MedNIST), prepared by B. J. Erickson, Mayo Clinic, from images of TCIA, the RSNA bone-age "
        "challenge and the NIH chest X-ray set (ChestX-ray14), 64×64 pixels, 8 bits. Exact duplicates were removed "
        "before splitting. The set holds no patient identifiers, so the splits are by image: one patient's films "
        "may stand in more than one of them."
    ),
    "licence": "CC BY-SA 4.0",
    "weights_licence": "cc-by-sa-4.0",
    "cite": (
        "- Erickson, B. J.: MedNIST data set, Mayo Clinic (CC BY-SA 4.0).\n"
        "- Wang, X. et al. (2017). ChestX-ray8: Hospital-scale chest X-ray database and benchmarks on "
        "weakly-supervised classification and localization of common thorax diseases. CVPR. arXiv:1705.02315"
    ),
}
