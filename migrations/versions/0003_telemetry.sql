-- Measures are 0 or from 1e-9 to 1e12, so that no square, ratio or product of them leaves what a double can hold.
-- Raw facts, immutable: one row per job attempt, and one per covered span of a worker within a 15-minute bucket.
-- Ids of studio tables carry no foreign key: studio rows are never deleted, and a key check per row and column would
-- cost more than the rest of the insert.

create table telemetry.performance_metrics (
    finished_at timestamptz not null,
    queued_at timestamptz,
    eligible_at timestamptz,
    started_at timestamptz,
    recorded_at timestamptz not null default now(),

    job_id text not null check (job_id <> '' and length(job_id) <= 200),
    attempt smallint not null check (attempt >= 1),
    estimate_id uuid,
    scene_key text,

    workflow_id integer not null,
    tier_id integer,
    project_id integer,
    character_id integer,
    scene_id integer,
    scene_type_id integer,
    worker_id integer,
    variant text,

    outcome text not null check (outcome in ('succeeded', 'failed', 'canceled')),
    error_code text,
    error_message text,
    is_cold boolean,
    cached_count integer check (cached_count >= 0),

    segment_count integer check (segment_count >= 0),
    frame_count integer check (frame_count >= 0),
    width integer check (width > 0),
    height integer check (height > 0),

    gpu_count integer check (gpu_count >= 0),
    gpu_seconds double precision check (gpu_seconds = 0 or gpu_seconds between 1e-9 and 1e12),
    wall_seconds double precision not null check (wall_seconds = 0 or wall_seconds between 1e-9 and 1e12),
    vram_peak_mb double precision check (vram_peak_mb = 0 or vram_peak_mb between 1e-9 and 1e12),
    vram_method text,
    energy_joules double precision check (energy_joules = 0 or energy_joules between 1e-9 and 1e12),
    output_mb double precision check (output_mb = 0 or output_mb between 1e-9 and 1e12),

    cpu_seconds double precision check (cpu_seconds = 0 or cpu_seconds between 1e-9 and 1e12),
    cpu_mean_pct double precision check (cpu_mean_pct = 0 or cpu_mean_pct between 1e-9 and 1e12),
    cpu_max_pct double precision check (cpu_max_pct = 0 or cpu_max_pct between 1e-9 and 1e12),
    rss_mean_mb double precision check (rss_mean_mb = 0 or rss_mean_mb between 1e-9 and 1e12),
    rss_peak_mb double precision check (rss_peak_mb = 0 or rss_peak_mb between 1e-9 and 1e12),
    read_mb double precision check (read_mb = 0 or read_mb between 1e-9 and 1e12),
    write_mb double precision check (write_mb = 0 or write_mb between 1e-9 and 1e12),
    commands text[],

    input_duration_seconds double precision
        check (input_duration_seconds = 0 or input_duration_seconds between 1e-9 and 1e12),
    input_video_codec text,
    input_audio_codec text,
    input_width integer check (input_width > 0),
    input_height integer check (input_height > 0),
    input_bitrate_kbps double precision check (input_bitrate_kbps = 0 or input_bitrate_kbps between 1e-9 and 1e12),

    host_hostname text,
    host_instance_type text,
    host_cpu_count integer check (host_cpu_count >= 0),
    host_memory_gb double precision check (host_memory_gb = 0 or host_memory_gb between 1e-9 and 1e12),
    host_gpu_model text,
    host_driver text,

    quality_scores_json jsonb check (jsonb_typeof(quality_scores_json) = 'object'),
    pipeline_stages_json jsonb check (jsonb_typeof(pipeline_stages_json) = 'array'),
    parameters_json jsonb check (jsonb_typeof(parameters_json) = 'object'),

    -- Computed here and nowhere else. A wait that would be negative (two machines' clocks) is unknown.
    time_per_frame_ms double precision generated always as (
        case when frame_count > 0 then wall_seconds * 1000 / frame_count end) stored,
    rtf double precision generated always as (
        case when wall_seconds >= 1e-6 then input_duration_seconds / wall_seconds end) stored,
    dependency_wait_seconds double precision generated always as (
        case when eligible_at >= queued_at then extract(epoch from eligible_at - queued_at)::double precision end
    ) stored,
    queue_wait_seconds double precision generated always as (
        case when started_at >= coalesce(eligible_at, queued_at)
             then extract(epoch from started_at - coalesce(eligible_at, queued_at))::double precision end
    ) stored,

    constraint performance_metrics_finite_times check (
        finished_at >= '2000-01-01 00:00:00+00' and finished_at < '2201-01-01 00:00:00+00'
        and started_at <= finished_at and isfinite(queued_at) and isfinite(eligible_at) and isfinite(started_at)),
    constraint performance_metrics_gpu_agrees check (not (gpu_count = 0 and gpu_seconds > 0))
);

select create_hypertable('telemetry.performance_metrics', by_range('finished_at', interval '7 days'),
    create_default_indexes => false);

create index performance_metrics_by_time on telemetry.performance_metrics (finished_at);
create index performance_metrics_by_workflow on telemetry.performance_metrics (workflow_id, tier_id, finished_at);
create index performance_metrics_by_worker on telemetry.performance_metrics (worker_id, finished_at);
create index performance_metrics_by_job on telemetry.performance_metrics (job_id);
create index performance_metrics_by_project on telemetry.performance_metrics (project_id, finished_at)
    where project_id is not null;
create index performance_metrics_by_character on telemetry.performance_metrics (character_id, finished_at)
    where character_id is not null;
create index performance_metrics_by_scene on telemetry.performance_metrics (scene_id, finished_at)
    where scene_id is not null;

comment on table telemetry.performance_metrics is 'One row per job attempt, never updated.';
comment on column telemetry.performance_metrics.gpu_seconds is 'Occupancy: GPUs times the time they were held.';
comment on column telemetry.performance_metrics.rtf is 'Input media seconds per wall second; 1.3 is faster than real time.';
comment on column telemetry.performance_metrics.recorded_at is 'When the warehouse stored the row.';

create table telemetry.worker_heartbeats (
    covered_from timestamptz not null,
    covered_to timestamptz not null,
    worker_id integer not null,
    state text not null check (state in ('generating', 'idle', 'offline')),
    recorded_at timestamptz not null default now(),
    covered_seconds double precision generated always as (
        extract(epoch from covered_to - covered_from)::double precision) stored,
    -- A span lies within one bucket, so that a bucket's seconds are the sum of its rows.
    constraint worker_heartbeats_within_a_bucket check (
        covered_to > covered_from
        and covered_to <= date_bin('15 minutes', covered_from, '2000-01-01 00:00:00+00') + interval '15 minutes'),
    constraint worker_heartbeats_finite_times check (
        covered_from >= '2000-01-01 00:00:00+00' and covered_from < '2201-01-01 00:00:00+00')
);

select create_hypertable('telemetry.worker_heartbeats', by_range('covered_from', interval '7 days'),
    create_default_indexes => false);

create unique index worker_heartbeats_key on telemetry.worker_heartbeats (worker_id, covered_from);
create index worker_heartbeats_by_time on telemetry.worker_heartbeats (covered_from);
comment on table telemetry.worker_heartbeats is 'What a worker did, in spans that never overlap.';

grant insert on telemetry.performance_metrics, telemetry.worker_heartbeats to framehouse_ingest, framehouse_api;
