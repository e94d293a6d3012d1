"""Impasto turns photographs into paintings: neural style transfer behind one verb, `stylize`."""

__version__ = "0.1.0.dev0"
