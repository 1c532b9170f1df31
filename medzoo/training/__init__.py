"""Training of presets: recipes, training loop, checkpoints, distribution and priors."""
