"""What the server does under load: ``python benchmarks/serve.py [--seconds 60] [--json FILE]``.

Pictures of 1280 x 720 from 1, 4, 16 and 64 clients, each of which sends the next when it has the last, and waits as
long as it is told to when it is told to come back. Beside it somebody asks for /health ten times a second. The bare
loop reads, paints and writes the same pictures in one process, before and after. The clients, a process of their own,
share the processors with the server. Nothing else should run on the machine.
"""

import argparse
import http.client
import io
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import impasto
from impasto.images import read_picture, resize, write_image

EXAMPLES = Path(__file__).parent.parent / "examples"
PHOTOS = ("raccoon.jpg", "astronaut.jpg", "coffee.jpg", "cat.jpg")
FRAME = (720, 1280)
STYLE = "starry_night"
CLIENTS = (1, 4, 16, 64)
STARTS = 3
"""Of the server, to see how long that takes."""
BETWEEN_S = 0.1
"""Questions for /health."""
MEMORY_EVERY = 10
"""Of these: to add up the pages of every process takes a third of a processor where it is done ten times a second."""


def main() -> None:
    """Measure, print, and write the result where that is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each number of clients")
    parser.add_argument("--json", type=Path, help="file of the result")
    arguments = parser.parse_args()
    photos = [encoded(impasto.read_image(EXAMPLES / name)) for name in PHOTOS]
    ready = [start_time() for _ in range(STARTS)]
    print(f"from start to ready  {statistics.median(ready):.2f} s", flush=True)
    bare = [bare_loop(photos, arguments.seconds / 2)]
    with serving() as (address, pid):
        loads = [load(address, pid, count, photos, arguments.seconds) for count in CLIENTS]
    bare.append(bare_loop(photos, arguments.seconds / 2))
    print(f"bare loop  {statistics.mean(bare):.2f} a second (before {bare[0]:.2f}, after {bare[1]:.2f})")
    for row in loads:
        row["ratio"] = round(row["per_second"] / statistics.mean(bare), 3)
        print(f"{row['clients']:3} clients  {row['ratio']:.2f} of the bare loop")
    result = {
        "command": f"python benchmarks/serve.py --seconds {arguments.seconds:g}",
        "machine": f"{platform.system()} {platform.machine()}, {processor()}, {os.cpu_count()} processors",
        "versions": {name: version(name) for name in ("openvino", "fastapi", "uvicorn", "numpy", "pillow")},
        "load_average": [round(value, 1) for value in os.getloadavg()],
        "picture": "1280 x 720, JPEG to JPEG, style starry_night",
        "seconds_to_ready": [round(value, 2) for value in ready],
        "bare_loop_per_second": [round(value, 3) for value in bare],
        "loads": loads,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def encoded(pixels: impasto.images.Pixels) -> bytes:
    """A frame of a photo, as JPEG."""
    stream = io.BytesIO()
    write_image(stream, resize(pixels, FRAME), format="jpeg")
    return stream.getvalue()


def bare_loop(photos: list[bytes], seconds: float) -> float:
    """Pictures a second that one process reads, paints and writes, one after another."""
    style = impasto.load_style(STYLE)
    for warm in (True, False):
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < (2 if warm else seconds):
            painted = impasto.stylize(read_picture(photos[count % len(photos)]), style)
            write_image(io.BytesIO(), painted, format="jpeg")
            count += 1
    return count / (time.perf_counter() - start)


@contextmanager
def serving() -> Iterator[tuple[str, int]]:
    """Address and process of a server that can paint."""
    command = [sys.executable, "-m", "impasto", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        address = urlsplit(process.stdout.readline().strip()).netloc
        while ask(address, "GET", "/ready")[0] != 200:
            time.sleep(0.02)
        yield address, process.pid
        process.send_signal(signal.SIGTERM)


def start_time() -> float:
    """Seconds from the command to a server that can paint."""
    start = time.perf_counter()
    with serving():
        return time.perf_counter() - start


def ask(address: str, method: str, path: str, body: bytes | None = None) -> tuple[int, float]:
    """Status of an answer, and the seconds to wait that it tells."""
    connection = http.client.HTTPConnection(address, timeout=120)
    try:
        connection.request(method, path, body, {"Content-Type": "image/jpeg"} if body else {})
        answer = connection.getresponse()
        answer.read()
        return answer.status, float(answer.headers.get("Retry-After") or 0)
    finally:
        connection.close()


def load(address: str, pid: int, clients: int, photos: list[bytes], seconds: float) -> dict[str, Any]:
    """What so many clients see."""
    times: list[float] = []
    health: list[float] = []
    statuses: Counter[int] = Counter()
    memory: list[int] = []
    end = time.perf_counter() + seconds

    def client(number: int) -> None:
        while time.perf_counter() < end:
            start = time.perf_counter()
            status, wait = ask(address, "POST", f"/v1/stylize?style={STYLE}", photos[number % len(photos)])
            statuses[status] += 1
            if status == 200:
                times.append(time.perf_counter() - start)
            time.sleep(wait)

    def watch() -> None:
        while time.perf_counter() < end:
            start = time.perf_counter()
            assert ask(address, "GET", "/health")[0] == 200
            health.append(time.perf_counter() - start)
            if len(health) % MEMORY_EVERY == 1:
                memory.append(memory_of(pid))
            time.sleep(BETWEEN_S)

    start = time.perf_counter()
    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    threads.append(threading.Thread(target=watch))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    third = len(memory) // 3 or 1
    row = {
        "clients": clients,
        "per_second": round(len(times) / (time.perf_counter() - start), 3),
        "median_s": round(statistics.median(times), 3),
        "p99_s": round(percentile(times, 0.99), 3),
        "answers": {str(status): count for status, count in sorted(statuses.items())},
        "health_median_ms": round(1000 * statistics.median(health), 1),
        "health_worst_ms": round(1000 * max(health), 1),
        "memory_mb_first_third": round(statistics.mean(memory[:third]) / 1e6),
        "memory_mb_last_third": round(statistics.mean(memory[-third:]) / 1e6),
    }
    print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    return row


def percentile(values: list[float], share: float) -> float:
    """Value below which a share of the values is."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def memory_of(pid: int) -> int:
    """Bytes of a process and of those that it started, shared pages once; 0 where the system does not tell."""
    total = 0
    try:
        pids = [pid]
        for task in Path(f"/proc/{pid}/task").iterdir():
            pids += map(int, (task / "children").read_text().split())
        for each in pids:
            found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{each}/smaps_rollup").read_text(), re.MULTILINE)
            total += 1024 * int(found[1]) if found else 0
    except OSError:
        return total
    return total


def processor() -> str:
    """Name of the processor."""
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or "unknown processor"


if __name__ == "__main__":
    main()
