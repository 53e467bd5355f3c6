-- Which workflows' estimates are off, as told by the outcomes of stored estimates.

-- An outcome knows its scene's workflow and tier, so that the newest of one workflow are found by an index.
alter table ops.estimate_outcomes
    add column workflow text,
    add column tier text;
comment on column ops.estimate_outcomes.workflow is 'That of the estimated scene; null: no such scene is stored.';
update ops.estimate_outcomes as outcomes
set workflow = scenes.workflow, tier = scenes.tier
from ops.estimate_scenes as scenes
where scenes.estimate_id = outcomes.estimate_id and scenes.scene_key = outcomes.scene_key;
create index estimate_outcomes_by_workflow on ops.estimate_outcomes (workflow, finished_at);

-- Marks: workflows and tiers with outcomes that no look at their estimates has seen. Append-only, as
-- ops.touched_buckets.
create table ops.touched_scores (
    id bigint generated always as identity primary key,
    workflow text not null,
    tier text
);
comment on table ops.touched_scores is
    'Workflows and tiers of which estimated scenes were done since it was last judged whether estimates are off.';
insert into ops.touched_scores (workflow, tier)
select distinct workflow, tier from ops.estimate_outcomes where workflow is not null;

create table ops.estimate_alarms (
    id bigint generated always as identity primary key,
    workflow text not null,
    tier text,
    quantity text not null check (quantity in (
        'gpu_seconds', 'wall_seconds', 'disk_mb', 'energy_joules', 'vram_peak_mb', 'rss_peak_mb')),
    kind text not null check (kind in ('coverage', 'bias')),
    opened_at timestamptz not null default now(),
    closed_at timestamptz check (closed_at >= opened_at),
    since_at timestamptz not null,
    until_at timestamptz not null,
    scene_count integer not null check (scene_count > 0),
    bias_ratio double precision,
    coverage_ratio double precision not null check (coverage_ratio between 0 and 1)
);
create unique index estimate_alarms_open on ops.estimate_alarms (workflow, tier, quantity, kind) nulls not distinct
    where closed_at is null;
create index estimate_alarms_closed on ops.estimate_alarms (workflow, closed_at) where closed_at is not null;
comment on table ops.estimate_alarms is 'Where recent scored scenes show that estimates are off, and since when.';
comment on column ops.estimate_alarms.since_at is 'When the first of the scenes that show it finished.';
comment on column ops.estimate_alarms.until_at is
    'When the newest scene finished that was looked at; once closed, older ones raise no other alarm.';
comment on column ops.estimate_alarms.bias_ratio is
    'Predicted means over actuals of those scenes, minus 1: -0.2 is 20 % too little.';
comment on column ops.estimate_alarms.coverage_ratio is 'How many of those scenes lay within P10-P90.';

grant insert on ops.touched_scores to framehouse_ingest, framehouse_api;
