"""What people do with a pretrained autoencoder, one module or folder a use.

`features`, `classify`, `anomaly`, `segment`, `adapt`, `denoise`, `compress`, `generate`, `explore`, `encode`, `tune`.
The machinery of a use stands in its folder, that of several in `shared`.
"""
