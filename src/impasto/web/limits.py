"""What a process that reads files of strangers may take, where the system can hold it to that."""

import contextlib


def limit(
    memory_bytes: int,
    *,
    address_bytes: int | None = None,
    file_bytes: int = 0,
    files: int = 64,
    seconds: float | None = None,
) -> None:
    """Limit this process and what it forks: its memory, a file that it writes, open files, the processor's time.

    `address_bytes`: of addresses, which threads take more of than of memory; as many as of memory unless given.
    Windows knows none of these limits, and macOS not all: there the server's clock is the limit.
    """
    try:
        import resource
    except ImportError:
        return
    wanted = {
        "RLIMIT_DATA": memory_bytes,
        "RLIMIT_AS": memory_bytes if address_bytes is None else address_bytes,
        "RLIMIT_FSIZE": file_bytes,
        "RLIMIT_NOFILE": files,
        "RLIMIT_CORE": 0,
    } | ({} if seconds is None else {"RLIMIT_CPU": max(1, round(seconds))})
    for name, value in wanted.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (value, value))
