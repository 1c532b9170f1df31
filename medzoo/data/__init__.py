"""What one trains on: datasets, labels, splits, NPZ files, augmentation, synthetic images."""
