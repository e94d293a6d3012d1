"""What `impasto serve` is told: where it listens, who may use it, and every limit, declared once."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from impasto.config import check_range


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Everything that decides how the server behaves."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is every network that this machine is in."""
    port: int = 8080
    """Port to listen on; 0 takes a free one."""
    token: Annotated[str, Parameter(env_var="IMPASTO_TOKEN")] = ""
    """Secret that every request must bring; without one, whoever reaches the port may use it."""
    hosts: tuple[str, ...] = ()
    """Names by which the server is reached, as behind a proxy; localhost and plain addresses always are."""
    data: Path | None = None
    """Folder for the files of jobs, which then go on after a restart; a temporary one unless given."""
    photos: Path | None = None
    """Folder of photos on which new styles are trained; the photos that come with a training unless given."""

    upload_mb: float = 25.0
    """Size of an uploaded picture, in megabytes."""
    job_mb: float = 200.0
    """Size of all pictures of a job together, in megabytes."""
    video_mb: float = 200.0
    """Size of an uploaded video, in megabytes."""
    megapixels: float = 40.0
    """Pixels of an uploaded picture, in millions."""
    max_side: int = 16384
    """Width and height of an uploaded picture, in pixels."""
    video_megapixels: float = 8.9
    """Pixels of an uploaded video's frame, in millions; 4096 x 2160 has 8.85."""
    video_minutes: float = 5.0
    """Minutes that an uploaded video may last."""
    timeout: float = 60.0
    """Seconds that a request may take; one that brings a job's files has more, by their size."""
    patience: float = 10.0
    """Seconds without a byte after which a slow request is ended."""
    queue: int = 32
    """Pictures that may wait to be painted, and jobs that may wait; more are told to come back."""
    client_jobs: int = 4
    """Jobs of one client that wait or run."""
    live: int = 4
    """Webcams that are painted at the same time."""
    longest_training: float = 60.0
    """Minutes that a training may last."""
    largest_optimisation: int = 1536
    """Long side in pixels of a picture that is painted by optimisation."""
    largest_video: int = 4096
    """Long side in pixels that a video is painted at."""
    disk_gb: float = 4.0
    """Space for the files of all jobs, in gigabytes."""
    keep_minutes: float = 60.0
    """Minutes after which the results of a job are deleted."""

    decoders: int = 2
    """Processes that decode uploads."""
    decode_mb: int = 2048
    """Memory of a process that decodes an upload, in megabytes."""
    decode_seconds: float = 20.0
    """Time in which an upload must be decoded, of the processor and of the clock."""
    painter_gb: float = 4.0
    """Memory beyond which the process that paints is replaced, and a video's painting fails, in gigabytes."""

    def __post_init__(self) -> None:
        """Check every value; raises ValueError."""
        check_range(self, 0, 65_535, "port")
        check_range(self, 0.001, 1e5, "upload_mb", "job_mb", "video_mb", "disk_gb", "painter_gb")
        check_range(self, 0.0001, 1000, "megapixels", "video_megapixels")
        check_range(self, 16, 65_535, "max_side", "largest_optimisation", "largest_video")
        check_range(self, 0.1, 3600, "timeout", "patience", "decode_seconds")
        check_range(self, 1, 10_000, "queue", "client_jobs", "live")
        check_range(self, 0.001, 1e6, "keep_minutes", "longest_training", "video_minutes")
        check_range(self, 1, 64, "decoders")
        check_range(self, 64, 1 << 20, "decode_mb")
        if not self.host:
            raise ValueError("host is empty; give an address, as 127.0.0.1 or 0.0.0.0")
        if self.token and (len(self.token) < 8 or not self.token.isascii() or not self.token.isprintable()):
            raise ValueError("token is too short or has odd letters; give 8 or more plain ones")
        if self.photos is not None and not self.photos.is_dir():
            raise ValueError(f"photos is {self.photos}; there is no such folder")

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the server."""
        return self.host == "localhost" or is_loopback(self.host)

    @property
    def upload_bytes(self) -> int:
        """Size of an uploaded picture, in bytes."""
        return round(self.upload_mb * 1e6)

    @property
    def job_bytes(self) -> int:
        """Size of all that a request for a job may bring, in bytes: pictures, or a video, its mask and a painting."""
        return max(round(self.job_mb * 1e6), self.video_bytes + 2 * self.upload_bytes)

    @property
    def video_bytes(self) -> int:
        """Size of an uploaded video, in bytes."""
        return round(self.video_mb * 1e6)

    @property
    def pixels(self) -> int:
        """Pixels of an uploaded picture."""
        return round(self.megapixels * 1e6)

    @property
    def video_pixels(self) -> int:
        """Pixels of an uploaded video's frame."""
        return round(self.video_megapixels * 1e6)


def is_loopback(address: str) -> bool:
    """Whether a text is an address of this machine alone."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
