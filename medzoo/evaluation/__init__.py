"""Evaluation of presets: reconstruction, latent space, robustness, linear probe, throughput, and model cards."""
