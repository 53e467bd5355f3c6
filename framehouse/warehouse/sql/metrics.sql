-- name: state
-- What there is, and which buckets near a window [start, end) are marked (null: more than the limit).
with fence as (select raw_from from ops.retention),
marks as (
    select distinct 'touched' as kind, source as name, bucket from ops.touched_buckets
    where bucket >= %(start)s::timestamptz - interval '2 days' and bucket < %(end)s
        and bucket >= (select raw_from from fence)
    union all
    select distinct 'day', source, bucket from ops.touched_days
    where bucket >= %(start)s::timestamptz - interval '2 days' and bucket < %(end)s
        and bucket >= (select raw_from from fence)
    union all
    select 'pending', rollup, bucket from ops.pending_buckets
    where bucket >= %(start)s::timestamptz - interval '2 days' and bucket < %(end)s
    limit %(limit)s + 1
)
select (select studio_zone from ops.studio_settings) as studio_zone,
       (select block_minutes from ops.studio_settings) as block_minutes,
       (select nullif(raw_from, '-infinity') from fence) as raw_from,
       coalesce((select jsonb_object_agg(name, jsonb_build_array(
                    cells, definition_hash, nullif(complete_from, '-infinity'), parts_from))
                 from ops.rollups where renews is null), '{}') as built,
       (select case when count(*) <= %(limit)s
                    then coalesce(jsonb_agg(jsonb_build_array(kind, name, bucket)), '[]') end
        from marks) as marks;

-- name: studio_zone
select studio_zone from ops.studio_settings;

-- name: definition
select definition from ops.rollups where name = %(name)s;

-- name: ids
select 'workflow' as kind, name, id from studio.workflows where name = any(%(workflow)s)
union all select 'tier', name, id from studio.resolution_tiers where name = any(%(tier)s)
union all select 'project', name, id from studio.projects where name = any(%(project)s)
union all select 'character', name, id from studio.characters where name = any(%(character)s)
union all select 'scene', name, id from studio.scenes where name = any(%(scene)s)
union all select 'scene_type', name, id from studio.scene_types where name = any(%(scene_type)s)
union all select 'worker', name, id from studio.workers where name = any(%(worker)s);

-- name: correlations
-- Numbers only, and none so large that sums of their squares overflow. Of many attempts a share of 1024ths, which is
-- the same whenever it is asked; each attempt's numbers are read once, and not once for each pair.
with scored as materialized (
    select row_number() over () as id, parameters_json, quality_scores_json
    from telemetry.performance_metrics
    where finished_at >= %(start)s and finished_at < %(end)s and outcome = 'succeeded'
        and workflow_id = any(%(workflow)s::int[])
        and (%(tier)s::int[] is null or coalesce(tier_id, -1) = any(%(tier)s::int[]))
        and (%(worker)s::int[] is null or coalesce(worker_id, -1) = any(%(worker)s::int[]))
        and (%(project)s::int[] is null or coalesce(project_id, -1) = any(%(project)s::int[]))
        and parameters_json is not null and quality_scores_json is not null
        and (hashtext(job_id) & 1023) < %(share)s
),
parameters as materialized (
    select id, key as parameter, case when abs(value::numeric) < 1e100 then value::double precision end as x
    from scored cross join lateral jsonb_each(parameters_json)
    where jsonb_typeof(value) = 'number'
),
scores as materialized (
    select id, key as score, case when abs(value::numeric) < 1e100 then value::double precision end as y
    from scored cross join lateral jsonb_each(quality_scores_json)
)
select parameter, score, corr(y, x) as coefficient, regr_count(y, x) as count
from parameters join scores using (id)
group by parameter, score
having regr_count(y, x) >= %(fewest)s and corr(y, x) is not null
order by parameter, score;
