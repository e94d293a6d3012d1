"""What can go wrong outside the caller's control: one child of `ImpastoError` for each kind of failure.

A caller's mistake is a `ValueError` and is not defined here. Every message is one line that says what failed, on which
file, and what to try; the cause is chained with ``raise ... from``.
"""


class ImpastoError(Exception):
    """Base of every failure that Impasto reports; the command line prints it as one line and exits with 1."""


class ImageError(ImpastoError):
    """A picture cannot be read or written: missing, broken, too large, or of a format that is not supported."""


class StyleError(ImpastoError):
    """A style is unknown, or its file is corrupt, foreign or made by a newer version."""


class WeightsError(ImpastoError):
    """Weights cannot be had or read: the download failed, a checksum differs, or keys and shapes do not fit."""


class DeviceError(ImpastoError):
    """The device or precision that was asked for is not available, or ran out of memory."""


class TrainingError(ImpastoError):
    """Training cannot start or go on: no readable photos, a checkpoint of another run, losses that stay not finite."""


class OptimizationError(ImpastoError):
    """An optimisation cannot start or go on: a state of another run, a picture that does not fit, a loss not finite."""


class VideoError(ImpastoError):
    """A video cannot be read, written or continued: missing, broken, no pictures in it, a codec or a full disk."""


class MissingExtraError(ImpastoError):
    """A feature needs an optional part of Impasto that is not installed; the message names the extra."""
