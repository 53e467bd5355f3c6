-- What forecasts remember of each workflow and tier, and what a stored estimate predicts besides GPU time, wall time
-- and disk.

-- Marks: workflows and tiers whose forecast has not seen all attempts. Append-only, as ops.touched_buckets.
create table ops.touched_forecasts (
    id bigint generated always as identity primary key,
    workflow_id integer not null,
    tier_id integer
);
create index touched_forecasts_by_workflow on ops.touched_forecasts (workflow_id);
comment on table ops.touched_forecasts is
    'Workflows and tiers that attempts were written to or deleted from since their forecast was learnt.';

create table ops.forecasts (
    workflow_id integer not null,
    tier_id integer,
    sample_count bigint not null check (sample_count >= 0),
    version integer not null,
    outlook bytea not null,
    factors bytea not null,
    gpu_models jsonb not null check (jsonb_typeof(gpu_models) = 'array'),
    samples bytea not null,
    judgement bytea not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint forecasts_key unique nulls not distinct (workflow_id, tier_id)
);
comment on table ops.forecasts is 'What each workflow at each tier will cost, by what it cost so far.';
comment on column ops.forecasts.outlook is 'What estimates read: what every yardstick predicts.';
comment on column ops.forecasts.factors is 'By how much (ln) each worker takes longer or shorter.';
comment on column ops.forecasts.gpu_models is 'The models that did it, and the share of GPU time of each.';
comment on column ops.forecasts.samples is 'The newest attempts, which outlive raw data.';
comment on column ops.forecasts.judgement is 'How well each candidate did so far.';
create trigger touch_updated_at before update on ops.forecasts
    for each row execute function studio.touch_updated_at();

create table ops.forecasts_shared (
    is_present boolean primary key default true check (is_present),
    version integer not null,
    totals bytea not null,
    memory bytea not null,
    effects bytea not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table ops.forecasts_shared is
    'What all forecasts have in common: the usual spread, which candidates do well, the workers'' factors.';
comment on column ops.forecasts_shared.totals is 'What intervals of totals need.';
create trigger touch_updated_at before update on ops.forecasts_shared
    for each row execute function studio.touch_updated_at();

create function ops.mark_forecasts_inserted() returns trigger
language plpgsql set search_path = pg_catalog as $$
begin
    insert into ops.touched_forecasts (workflow_id, tier_id) select distinct workflow_id, tier_id from arrived;
    return null;
end
$$;

create function ops.mark_forecast_deleted() returns trigger
language plpgsql set search_path = pg_catalog as $$
begin
    insert into ops.touched_forecasts (workflow_id, tier_id) values (old.workflow_id, old.tier_id);
    return null;
end
$$;

create trigger mark_forecasts_inserted after insert on telemetry.performance_metrics
    referencing new table as arrived for each statement execute function ops.mark_forecasts_inserted();
create trigger mark_forecast_deleted after delete on telemetry.performance_metrics
    for each row execute function ops.mark_forecast_deleted();

-- Attempts that are there already: marks that find nothing cost next to nothing.
insert into ops.touched_forecasts (workflow_id, tier_id)
select workflows.id, tiers.id
from studio.workflows as workflows
cross join (select id from studio.resolution_tiers union all select null) as tiers;

alter table ops.estimates add column project text;

alter table ops.estimate_scenes
    add column energy_joules_mean double precision,
    add column energy_joules_p10 double precision,
    add column energy_joules_p50 double precision,
    add column energy_joules_p90 double precision,
    add column vram_peak_mb_mean double precision,
    add column vram_peak_mb_p10 double precision,
    add column vram_peak_mb_p50 double precision,
    add column vram_peak_mb_p90 double precision,
    add column rss_peak_mb_mean double precision,
    add column rss_peak_mb_p10 double precision,
    add column rss_peak_mb_p50 double precision,
    add column rss_peak_mb_p90 double precision,
    add column cost_mean double precision,
    add column cost_p10 double precision,
    add column cost_p50 double precision,
    add column cost_p90 double precision;

alter table ops.estimate_outcomes
    add column energy_joules double precision,
    add column vram_peak_mb double precision,
    add column rss_peak_mb double precision;
comment on column ops.estimate_outcomes.vram_peak_mb is 'The largest of the attempts, unknown if one of them is.';

grant insert on ops.touched_forecasts to framehouse_ingest, framehouse_api;
