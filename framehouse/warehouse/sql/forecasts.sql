-- What forecasts are learnt from, and what they leave behind.

-- name: try_lock
-- One learner of a database at a time, until the end of the transaction.
select pg_try_advisory_xact_lock(hashtext('framehouse.learn'));

-- name: is_built
select to_regclass('rollup.attempt_totals_by_workflow_daily') is not null;

-- name: newest_mark
select coalesce(max(id), 0) from ops.touched_forecasts;

-- name: waiting
-- Workflows and tiers with attempts that their forecast has not seen, or whose forecast another version left behind.
select count(*) from (
    select workflow_id, tier_id from ops.touched_forecasts
    union
    select workflow_id, tier_id from ops.forecasts where version <> %(version)s) as keys;

-- name: touched
select workflow_id, tier_id, array_agg(id) as ids
from (
    (select id, workflow_id, tier_id from ops.touched_forecasts where id <= %(newest)s order by id limit 50000)
    union all
    select null, workflow_id, tier_id from ops.forecasts where version <> %(version)s) as oldest
group by workflow_id, tier_id
order by min(id), workflow_id, tier_id
limit %(limit)s;

-- name: delete_marks
delete from ops.touched_forecasts where id = any(%s);

-- name: stored
select keys.place, known.samples, known.judgement, known.gpu_models
from unnest(%(workflows)s::integer[], %(tiers)s::integer[]) with ordinality as keys (workflow_id, tier_id, place)
join ops.forecasts as known
    on known.workflow_id = keys.workflow_id and coalesce(known.tier_id, 0) = coalesce(keys.tier_id, 0)
    and known.version = %(version)s;

-- name: shared
select memory, effects from ops.forecasts_shared where version = %s;

-- name: newest_attempts
-- Of each workflow and tier the newest that succeeded. Two arms, because only `tier_id = x` and `is null` use the index;
-- and that a null tier is always the same is known to it only where the order says so.
select
    keys.place, newest.finished_us, newest.identity, newest.worker_id, newest.is_cold, newest.gpu_model,
    newest.segment_count, newest.frame_count, newest.pixels, newest.input_duration_seconds,
    newest.wall_seconds, newest.gpu_seconds, newest.output_mb, newest.energy_joules, newest.vram_peak_mb,
    newest.rss_peak_mb
from unnest(%(workflows)s::integer[], %(tiers)s::integer[]) with ordinality as keys (workflow_id, tier_id, place)
cross join lateral (
    (select
        (extract(epoch from finished_at) * 1000000)::bigint as finished_us,
        hashtextextended(job_id, attempt) as identity,
        worker_id, is_cold, host_gpu_model as gpu_model, segment_count, frame_count, width::bigint * height as pixels,
        input_duration_seconds, wall_seconds, gpu_seconds, output_mb, energy_joules, vram_peak_mb, rss_peak_mb
     from telemetry.performance_metrics
     where workflow_id = keys.workflow_id and tier_id = keys.tier_id and outcome = 'succeeded'
     order by finished_at desc, job_id desc, attempt desc
     limit %(limit)s)
    union all
    (select
        (extract(epoch from finished_at) * 1000000)::bigint as finished_us,
        hashtextextended(job_id, attempt) as identity,
        worker_id, is_cold, host_gpu_model as gpu_model, segment_count, frame_count, width::bigint * height as pixels,
        input_duration_seconds, wall_seconds, gpu_seconds, output_mb, energy_joules, vram_peak_mb, rss_peak_mb
     from telemetry.performance_metrics
     where keys.tier_id is null and workflow_id = keys.workflow_id and tier_id is null and outcome = 'succeeded'
     order by tier_id desc, finished_at desc, job_id desc, attempt desc
     limit %(limit)s)) as newest
order by keys.place, newest.finished_us, newest.identity;

-- name: counts
-- How many attempts succeeded ever; and since some instant how often they failed, and how long those and others ran.
select
    keys.place,
    coalesce(sum(d.succeeded_count), 0)::bigint as sample_count,
    coalesce(sum(d.succeeded_count) filter (where is_recent), 0)::bigint as succeeded_count,
    coalesce(sum(d.failed_count) filter (where is_recent), 0)::bigint as failed_count,
    coalesce(sum(d.canceled_count) filter (where is_recent), 0)::bigint as canceled_count,
    sum(d.wall_seconds_sum) filter (where is_recent)
        / nullif(sum(d.wall_seconds_count) filter (where is_recent), 0) as succeeded_seconds,
    sum(d.wasted_wall_seconds_sum) filter (where is_recent)
        / nullif(sum(d.wasted_wall_seconds_count) filter (where is_recent), 0) as wasted_seconds
from unnest(%(workflows)s::integer[], %(tiers)s::integer[], %(since)s::timestamptz[]) with ordinality
    as keys (workflow_id, tier_id, since, place)
join rollup.attempt_totals_by_workflow_daily as d
    on d.workflow_id = keys.workflow_id and coalesce(d.tier_id, 0) = coalesce(keys.tier_id, 0)
cross join lateral (select d.bucket > keys.since - interval '1 day' as is_recent) as recent
where d.workflow_id = any(%(workflows)s::integer[])
    and d.bucket >= (select ops.known_from('attempt_totals_by_workflow_daily', array[
        'succeeded_count', 'failed_count', 'canceled_count', 'wall_seconds_sum', 'wall_seconds_count', 'wasted_wall_seconds_sum',
        'wasted_wall_seconds_count']))
group by keys.place;

-- name: fence
select (extract(epoch from greatest(raw_from, '1970-01-01 00:00:00+00')) * 1000000)::bigint from ops.retention;

-- name: keep
insert into ops.forecasts as known
    (workflow_id, tier_id, sample_count, version, outlook, factors, gpu_models, samples, judgement)
values (%(workflow_id)s, %(tier_id)s, %(sample_count)s, %(version)s, %(outlook)s, %(factors)s, %(gpu_models)s,
        %(samples)s, %(judgement)s)
on conflict on constraint forecasts_key do update set
    sample_count = excluded.sample_count, version = excluded.version, outlook = excluded.outlook,
    factors = excluded.factors, gpu_models = excluded.gpu_models, samples = excluded.samples,
    judgement = excluded.judgement;

-- name: keep_shared
insert into ops.forecasts_shared (version, totals, memory, effects)
values (%(version)s, %(totals)s, %(memory)s, %(effects)s)
on conflict (is_present) do update set
    version = excluded.version, totals = excluded.totals, memory = excluded.memory, effects = excluded.effects;

-- name: forget
-- Of a workflow and tier without an attempt that succeeded nothing is kept.
delete from ops.forecasts where workflow_id = %(workflow_id)s and tier_id is not distinct from %(tier_id)s;

-- name: known
-- What is known of all tiers of the named workflows, and whether attempts were written since.
with asked as (
    select id, name from studio.workflows where name = any(%(workflows)s)
),
touched as (
    select distinct workflow_id, tier_id from ops.touched_forecasts
    where workflow_id = any(array(select id from asked))
),
known as (
    select * from ops.forecasts where workflow_id = any(array(select id from asked))
)
select
    asked.name as workflow, tiers.name as tier, asked.id as workflow_id, tiers.id as tier_id,
    known.sample_count, known.outlook, known.factors, known.gpu_models,
    touched.workflow_id is not null or known.version <> %(version)s as is_outdated
from known
full join touched
    on touched.workflow_id = known.workflow_id and coalesce(touched.tier_id, 0) = coalesce(known.tier_id, 0)
join asked on asked.id = coalesce(known.workflow_id, touched.workflow_id)
left join studio.resolution_tiers as tiers on tiers.id = coalesce(known.tier_id, touched.tier_id);

-- name: shared_totals
select totals from ops.forecasts_shared where version = %s;
