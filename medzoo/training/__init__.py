"""The machinery behind recipes: training loop, checkpoints, distribution, priors."""
