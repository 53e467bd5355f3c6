"""What machine this is. The slow part (cloud metadata, the GPU driver) is asked once a boot and remembered."""

import contextlib
import ctypes
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from framehouse.config import Settings
from framehouse.units import GIB

METADATA_ADDRESS = ("169.254.169.254", 80)
METADATA_PATIENCE_SECONDS = 1.0
_TOKEN_PATH = "/latest/api/token"  # noqa: S105 - an address
_TYPE_PATH = "/latest/meta-data/instance-type"
_TOKEN_SECONDS = "60"  # noqa: S105
_ABSENT_FOR_SECONDS = 3600  # the network may have been late at boot, so "no cloud" is asked again after this


@dataclass(frozen=True, slots=True)
class Hardware:
    """What takes time to find out; None is unknown or not there. Several kinds of GPU are joined by ` + `."""

    instance_type: str | None
    gpu_model: str | None
    driver: str | None


def hostname() -> str:
    return socket.gethostname()


def cpu_count() -> int | None:
    return os.cpu_count()


def memory_gb() -> float:
    """Physical memory in GiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB


def hardware(settings: Settings, metadata_address: tuple[str, int] = METADATA_ADDRESS) -> Hardware:
    """Cloud instance type, GPU model and driver; may take a second on the first call after a boot."""
    path = settings.home / "cache" / "host.json"
    identity = _identity(settings)
    if (known := _remembered(path, identity)) is not None:
        return known
    instance_type = settings.instance_type
    if instance_type is None and settings.is_probing_cloud:
        instance_type = ask_metadata(metadata_address, METADATA_PATIENCE_SECONDS)
    gpu_model, driver = gpu()
    found = Hardware(instance_type, gpu_model, driver)
    _remember(path, identity, found)
    return found


def ask_metadata(address: tuple[str, int], patience_seconds: float) -> str | None:
    """The instance type from the cloud's metadata service: with a token (version 2), else without.

    Takes at most `patience_seconds` in all. None where nothing answers.
    """
    ends = time.monotonic() + patience_seconds
    token = _metadata(
        address, "PUT", _TOKEN_PATH, {"X-aws-ec2-metadata-token-ttl-seconds": _TOKEN_SECONDS}, ends
    )
    headers = {"X-aws-ec2-metadata-token": token} if token else {}
    answer = _metadata(address, "GET", _TYPE_PATH, headers, ends)
    return answer if answer and len(answer) <= 100 and answer.isprintable() and " " not in answer else None


def gpu() -> tuple[str | None, str | None]:
    """Model of the GPUs and version of their driver, as NVML tells them."""
    try:
        ctypes.CDLL(
            "libnvidia-ml.so.1"
        )  # most machines have none, and then the import below would be in vain
        import pynvml  # noqa: PLC0415 - an optional dependency
    except (OSError, ImportError):
        return None, None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None, None
    try:
        count = pynvml.nvmlDeviceGetCount()
        names = [pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(count)]
        return " + ".join(dict.fromkeys(names)) or None, pynvml.nvmlSystemGetDriverVersion()
    except pynvml.NVMLError:
        return None, None
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _metadata(
    address: tuple[str, int], method: str, path: str, headers: dict[str, str], ends: float
) -> str | None:
    patience = ends - time.monotonic()
    if patience <= 0:
        return None
    connection = HTTPConnection(*address, timeout=patience)
    try:
        connection.request(method, path, headers=headers)
        if connection.sock is not None:
            connection.sock.settimeout(max(0.001, ends - time.monotonic()))
        response = connection.getresponse()
        body = response.read(4096)
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    return body.decode("ascii", "replace").strip() if response.status == 200 else None


def _identity(settings: Settings) -> list[str | bool | None]:
    """What a remembered answer holds for: this boot, this machine (or container), this driver, these settings."""
    texts = [_text("/proc/sys/kernel/random/boot_id"), _text("/proc/driver/nvidia/version")]
    return [*texts, hostname(), settings.instance_type, settings.is_probing_cloud]


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except (OSError, ValueError):
        return None


def _remembered(path: Path, identity: list[str | bool | None]) -> Hardware | None:
    try:
        kept = json.loads(path.read_bytes())
        found = Hardware(**kept["hardware"])
        age = time.time() - kept["asked_at"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if kept["identity"] != identity or not all(isinstance(v, str | None) for v in asdict(found).values()):
        return None
    is_settled = found.instance_type is not None or 0 <= age < _ABSENT_FOR_SECONDS
    return found if is_settled else None


def _remember(path: Path, identity: list[str | bool | None], found: Hardware) -> None:
    draft = path.with_suffix(f".{os.getpid()}.draft")
    kept = {"identity": identity, "asked_at": time.time(), "hardware": asdict(found)}
    with contextlib.suppress(OSError):  # a home that cannot be written only costs asking again
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(kept))
        draft.replace(path)
