"""Networks, in PyTorch: import them from their modules. This layer needs the `train` extra."""
