-- Stored estimates, and what happened. Outcomes are summed while attempts arrive, because raw data goes before an
-- estimate's worth does.

create table ops.estimates (
    id uuid primary key,
    created_at timestamptz not null default now(),
    request jsonb not null,
    answer jsonb not null,
    total_scenes integer not null check (total_scenes >= 0),
    estimated_scenes integer not null check (estimated_scenes between 0 and total_scenes)
);
create index estimates_by_time on ops.estimates (created_at);

create table ops.estimate_scenes (
    estimate_id uuid not null references ops.estimates (id) on delete cascade,
    scene_key text not null,
    ordinal integer not null,
    workflow text not null,
    tier text,
    segments_needed integer not null check (segments_needed > 0),
    sample_count integer not null check (sample_count >= 0),
    reason text,
    gpu_seconds_mean double precision,
    gpu_seconds_p10 double precision,
    gpu_seconds_p50 double precision,
    gpu_seconds_p90 double precision,
    wall_seconds_mean double precision,
    wall_seconds_p10 double precision,
    wall_seconds_p50 double precision,
    wall_seconds_p90 double precision,
    disk_mb_mean double precision,
    disk_mb_p10 double precision,
    disk_mb_p50 double precision,
    disk_mb_p90 double precision,
    primary key (estimate_id, scene_key),
    constraint estimate_scenes_estimate_or_reason check ((wall_seconds_mean is null) = (reason is not null))
);

create table ops.estimate_outcomes (
    estimate_id uuid not null,
    scene_key text not null,
    attempt_count integer not null,
    gpu_seconds double precision,
    wall_seconds double precision not null,
    output_mb double precision,
    segment_count bigint,
    finished_at timestamptz not null,
    primary key (estimate_id, scene_key)
);
comment on table ops.estimate_outcomes is
    'Sums over the succeeded attempts that carry an estimate and a scene: the actual beside the predicted.';

grant insert on ops.estimates, ops.estimate_scenes to framehouse_api;
grant insert, update on ops.estimate_outcomes to framehouse_ingest, framehouse_api;
