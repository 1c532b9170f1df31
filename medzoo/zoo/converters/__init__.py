"""Weights of other libraries, in Keras: readers of their files, and one small module per source."""
