"""A studio's plausible traffic, the same for the same seed.

40 workflows of Zipf-like popularity (30 that generate, at three tiers; 10 media jobs without a tier), 24 workers that
each hold the models of a few workflows, log-normal durations by workflow and tier, busy office hours with render
batches at night, 93 % of attempts succeeded. Every day has the same number of attempts.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

TIERS = ("draft", "preview", "production")
SPEED = (5.0, 2.5, 1.0)
SIZES = ((512, 512), (768, 768), (1920, 1080))
WORKER_COUNT = 24

_FAMILIES = (
    "portrait", "character_sheet", "wan_i2v", "wan_t2v", "lipsync", "upscale", "inpaint", "background",
    "style_transfer", "face_swap",
)  # fmt: skip
_MEDIA = (
    "create_video_export_v1", "create_proxy_v1", "thumbnail_v1", "audio_mix_v1", "loudness_v1", "waveform_v1",
    "concat_segments_v1", "burn_subtitles_v1", "extract_frames_v1", "probe_v1",
)  # fmt: skip
WORKFLOWS = (*(f"{family}_v{version}" for family in _FAMILIES for version in (1, 2, 3)), *_MEDIA)
GENERATING = len(_FAMILIES) * 3
_GPUS = ("NVIDIA L40S", "NVIDIA RTX 4090", "NVIDIA A100-SXM4-80GB")
_QUARTERS = 96
_PROMPT = (
    "cinematic medium shot, the character turns towards the window, soft key light from the left, shallow depth of "
    "field, 35 mm, natural skin texture, subtle film grain, consistent wardrobe, slow push in"
)
_COMMAND = (
    "ffmpeg -hide_banner -nostdin -y -i input.mp4 -vf scale=1920:1080:flags=lanczos,format=yuv420p -c:v libx264 "
    "-preset slow -crf 18 -c:a aac -b:a 192k -movflags +faststart output.mp4"
)
_Floats = npt.NDArray[np.floating[Any]]
_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Studio:
    """What does not change from day to day.

    popularity   share of attempts, by workflow
    hosts        workers that hold a workflow's models, by workflow
    ln_seconds   mean of ln(wall seconds per segment) at production, by workflow
    spread       standard deviation of the same
    segments     mean number of segments of a job, by workflow
    """

    popularity: _Floats
    hosts: tuple[_Ints, ...]
    ln_seconds: _Floats
    spread: _Floats
    segments: _Floats


def studio(seed: int) -> Studio:
    """The studio of a seed."""
    rng = np.random.default_rng([seed, 0])
    count = len(WORKFLOWS)
    ranks = rng.permutation(count)
    popularity = 1.0 / (1.0 + ranks) ** 1.05
    popularity /= popularity.sum()
    load = np.zeros(WORKER_COUNT)
    hosts: list[_Ints] = [np.zeros(0, dtype=np.int64)] * count
    for workflow in np.argsort(ranks):
        share = popularity[workflow]
        wanted = int(np.clip(round(share * WORKER_COUNT), 2, 6))
        chosen = np.argsort(load + rng.uniform(0, 1e-6, WORKER_COUNT))[:wanted]
        load[chosen] += share / wanted
        hosts[workflow] = chosen
    is_media = np.arange(count) >= GENERATING
    return Studio(
        popularity=popularity,
        hosts=tuple(hosts),
        ln_seconds=np.where(is_media, rng.uniform(0.5, 3.0, count), rng.uniform(2.0, 4.5, count)),
        spread=rng.uniform(0.25, 0.6, count),
        segments=np.where(is_media, 1.0, rng.uniform(1.5, 6.0, count)),
    )


def times(seed: int, rows_a_day: int, day: datetime, start: datetime, end: datetime) -> _Floats:
    """Seconds after `day` at which attempts finish, of those of its day that lie in [start, end); in order."""
    rng = np.random.default_rng([seed, 1, day.toordinal()])
    hours = (np.arange(_QUARTERS) + 0.5) / 4
    weight = 0.45 + np.exp(-(((hours - 11.0) / 2.2) ** 2)) + np.exp(-(((hours - 16.0) / 2.5) ** 2))
    quarter = rng.choice(_QUARTERS, rows_a_day, p=weight / weight.sum())
    seconds = np.sort((quarter + rng.random(rows_a_day)) * 900)
    low, high = (start - day).total_seconds(), (end - day).total_seconds()
    return seconds[(seconds >= low) & (seconds < high)]


def attempts(
    made: Studio, seed: int, day: datetime, seconds: _Floats, *, salt: int = 0
) -> dict[str, list[Any]]:
    """Attempts that finished so many seconds after `day`, as the contract's fields, each a list; nested by a dot.

    `salt` makes other attempts of the same day, with jobs of their own.
    """
    n = len(seconds)
    rng = np.random.default_rng([seed, 2, salt, day.toordinal()])
    workflow = rng.choice(len(WORKFLOWS), n, p=made.popularity)
    is_media = workflow >= GENERATING
    tier = rng.choice(3, n, p=[0.55, 0.30, 0.15])
    worker = _workers(rng, made, workflow)
    segments = 1 + rng.poisson(made.segments[workflow] - 1)
    frames = segments * np.where(is_media, 240, 81)
    is_cold = ~is_media & (rng.random(n) < 0.06)
    speed = np.where(is_media, 1.0, np.array(SPEED)[tier])
    wall = (
        np.exp(made.ln_seconds[workflow] + made.spread[workflow] * rng.standard_normal(n)) * segments / speed
    )
    wall += np.where(is_cold, rng.uniform(15, 60, n), 0.0)
    ended = rng.choice(3, n, p=[0.93, 0.05, 0.02])
    wall = np.where(ended == 0, wall, wall * rng.uniform(0.05, 0.9, n)) + 0.05
    wait = rng.exponential(40.0, n)
    blocked = np.where(rng.random(n) < 0.3, rng.exponential(300.0, n), 0.0)
    work = wall * rng.uniform(0.3, 2.5, n)
    memory = 1500 + 400 * rng.random(n)
    job = rng.integers(0, 2**63, (n, 2))
    begun = seconds - wall

    def instants(offsets: _Floats) -> list[datetime]:
        return [day + timedelta(microseconds=round(at * 1e6)) for at in offsets.tolist()]

    def known(values: npt.NDArray[Any], where: npt.NDArray[np.bool_]) -> list[Any]:
        return [
            value if is_known else None
            for value, is_known in zip(values.tolist(), where.tolist(), strict=True)
        ]

    def named(
        names: tuple[str, ...], indexes: npt.NDArray[Any], where: npt.NDArray[np.bool_] | None = None
    ) -> list[Any]:
        return known(
            np.array(names, dtype=object)[indexes], np.ones(n, dtype=bool) if where is None else where
        )

    size = np.array(SIZES)[tier]
    return {
        "job_id": [f"{high:016x}{low:016x}" for high, low in job.tolist()],
        "attempt": (1 + (rng.random(n) < 0.04)).tolist(),
        "workflow": named(WORKFLOWS, workflow),
        "tier": named(TIERS, tier, ~is_media),
        "worker": [f"gpu-{index:02d}" for index in worker.tolist()],
        "project": [f"show-{index}" for index in rng.integers(0, 4, n).tolist()],
        "character": known(np.char.add("character-", rng.integers(0, 30, n).astype(str)), ~is_media),
        "scene_type": named(("dialogue", "action", "establishing"), rng.integers(0, 3, n), ~is_media),
        "queued_at": instants(begun - wait - blocked),
        "eligible_at": instants(begun - wait),
        "started_at": instants(begun),
        "finished_at": instants(seconds),
        "outcome": named(("succeeded", "failed", "canceled"), ended),
        "error_code": known(np.full(n, "cuda_out_of_memory"), ended == 1),
        "error_message": known(np.full(n, "CUDA out of memory. Tried to allocate 2.31 GiB"), ended == 1),
        "is_cold": known(is_cold, ~is_media),
        "cached_count": known(rng.integers(0, 8, n), ~is_media),
        "segment_count": segments.tolist(),
        "frame_count": frames.tolist(),
        "width": np.where(is_media, 1920, size[:, 0]).tolist(),
        "height": np.where(is_media, 1080, size[:, 1]).tolist(),
        "gpu_count": np.where(is_media, 0, 1).tolist(),
        "gpu_seconds": np.where(is_media, 0.0, wall * 0.97).tolist(),
        "wall_seconds": wall.tolist(),
        "vram_peak_mb": known(9000 + 4000 * tier + 900 * rng.random(n), ~is_media),
        "vram_method": known(np.full(n, "nvml_process"), ~is_media),
        "energy_joules": known(wall * rng.uniform(220, 420, n), ~is_media),
        "output_mb": (segments * rng.lognormal(1.5, 0.4, n)).tolist(),
        "cpu_seconds": work.tolist(),
        "cpu_mean_pct": (work / wall * 100).tolist(),
        "cpu_max_pct": (work / wall * 100 * rng.uniform(1.0, 1.6, n)).tolist(),
        "rss_mean_mb": (memory * 0.8).tolist(),
        "rss_peak_mb": memory.tolist(),
        "read_mb": rng.lognormal(4, 1, n).tolist(),
        "write_mb": rng.lognormal(2, 1, n).tolist(),
        "commands": [[_COMMAND] if media else None for media in is_media.tolist()],
        "input.duration_seconds": known(rng.lognormal(3, 0.6, n), is_media),
        "input.video_codec": known(np.full(n, "h264"), is_media),
        "input.audio_codec": known(np.full(n, "aac"), is_media),
        "input.width": known(np.full(n, 3840), is_media),
        "input.height": known(np.full(n, 2160), is_media),
        "input.bitrate_kbps": known(rng.uniform(8_000, 40_000, n), is_media),
        "host.hostname": [f"render-{index // 4}.studio.internal" for index in worker.tolist()],
        "host.instance_type": known(np.full(n, "g6e.2xlarge"), worker < 12),
        "host.cpu_count": [8] * n,
        "host.memory_gb": [64.0] * n,
        "host.gpu_model": named(_GPUS, worker % 3, ~is_media),
        "host.driver": known(np.full(n, "570.86.15"), ~is_media),
        "quality_scores": _scores(rng, n, ~is_media & (ended == 0)),
        "pipeline_stages": _stages(rng, wall, is_media),
        "parameters": _parameters(rng, n, is_media),
    }


def _workers(rng: np.random.Generator, made: Studio, workflow: _Ints) -> _Ints:
    worker = np.empty_like(workflow)
    for index, hosts in enumerate(made.hosts):
        mine = workflow == index
        worker[mine] = hosts[rng.integers(0, len(hosts), int(mine.sum()))]
    return worker


def _scores(rng: np.random.Generator, n: int, where: npt.NDArray[np.bool_]) -> list[dict[str, float] | None]:
    names = ("likeness", "face_confidence", "motion_quality", "boundary_ssim")
    drawn = np.round(1 - rng.beta(2, 12, (n, len(names))), 4).tolist()
    return [
        dict(zip(names, row, strict=True)) if is_known else None
        for row, is_known in zip(drawn, where.tolist(), strict=True)
    ]


def _stages(
    rng: np.random.Generator, wall: _Floats, is_media: npt.NDArray[np.bool_]
) -> list[list[dict[str, Any]]]:
    parts = np.round(rng.dirichlet([1, 2, 12, 3], len(wall)) * (wall * 950)[:, None], 1).tolist()
    media, generating = (
        ("probe", "decode", "encode", "mux"),
        ("load_model", "text_encode", "sample", "vae_decode"),
    )
    return [
        [
            {"name": name, "duration_ms": ms}
            for name, ms in zip(media if is_m else generating, row, strict=True)
        ]
        for row, is_m in zip(parts, is_media.tolist(), strict=True)
    ]


def _parameters(rng: np.random.Generator, n: int, is_media: npt.NDArray[np.bool_]) -> list[dict[str, Any]]:
    seeds = rng.integers(0, 2**32, n).tolist()
    steps, guidance = rng.integers(16, 41, n).tolist(), np.round(rng.uniform(1, 9, n), 2).tolist()
    return [
        {"preset": "slow", "crf": 18, "codec": "libx264"}
        if is_m
        else {
            "seed": seeds[i],
            "steps": steps[i],
            "cfg": guidance[i],
            "sampler": "dpmpp_2m",
            "prompt": _PROMPT,
        }
        for i, is_m in enumerate(is_media.tolist())
    ]


def events(columns: dict[str, list[Any]]) -> list[bytes]:
    """The attempts as bodies of events, each a JSON object of about 1.8 kB."""
    found = []
    names = list(columns)
    for values in zip(*columns.values(), strict=True):
        event: dict[str, Any] = {}
        for name, value in zip(names, values, strict=True):
            if value is None:
                continue
            group, _, field = name.partition(".")
            plain = value.isoformat() if isinstance(value, datetime) else value
            if field:
                event.setdefault(group, {})[field] = plain
            else:
                event[name] = plain
        found.append(json.dumps(event).encode())
    return found
