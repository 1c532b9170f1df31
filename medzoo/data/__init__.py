"""Datasets, labels, splits, NPZ files, augmentation and synthetic images."""
