"""Downstream tasks of pretrained autoencoders, one module or package per task.

Modules: `adapt` (domain adaptation), `attribution`, `denoise`, `drift`, `encode` (latents of large datasets),
`features`, `latent_traversal`, `projection` (2D projections of features), `reconstruct`, `retrieval` and `tune`
(hyperparameter selection). Packages: `anomaly`, `classify`, `compress`, `generate` and `segment`; `shared` contains the
code that several tasks use.
"""
