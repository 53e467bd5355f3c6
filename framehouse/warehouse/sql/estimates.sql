-- name: tiers
select name, is_default from studio.resolution_tiers where archived_at is null order by sort_order, name;

-- name: pool
-- Workers that said within the last quarter hour that they are on.
select workers.id, workers.name
from (
    select distinct on (worker_id) worker_id, state
    from telemetry.worker_heartbeats
    where covered_from > now() - interval '30 minutes' and covered_to > now() - interval '15 minutes'
    order by worker_id, covered_from desc
) as latest
join studio.workers as workers on workers.id = latest.worker_id
where latest.state <> 'offline'
order by workers.name;

-- name: workers
select id, name from studio.workers where name = any(%s);

-- name: queue
select waiting, running, updated_at < now() - interval '15 minutes' as is_outdated from studio.queue;

-- name: store
insert into ops.estimates (id, request, answer, total_scenes, estimated_scenes, project)
values (%(id)s, %(request)s, %(answer)s, %(total_scenes)s, %(estimated_scenes)s, %(project)s);

-- name: stored
select id, created_at, request, answer from ops.estimates where id = %(id)s;

-- name: scenes_with_outcomes
select
    scenes.scene_key, scenes.workflow, scenes.tier, scenes.segments_needed, scenes.sample_count, scenes.reason,
    scenes.gpu_seconds_mean, scenes.gpu_seconds_p10, scenes.gpu_seconds_p50, scenes.gpu_seconds_p90,
    scenes.wall_seconds_mean, scenes.wall_seconds_p10, scenes.wall_seconds_p50, scenes.wall_seconds_p90,
    scenes.disk_mb_mean, scenes.disk_mb_p10, scenes.disk_mb_p50, scenes.disk_mb_p90,
    outcomes.attempt_count, outcomes.gpu_seconds as gpu_seconds_actual, outcomes.wall_seconds as wall_seconds_actual,
    outcomes.output_mb as disk_mb_actual, outcomes.finished_at
from ops.estimate_scenes as scenes
left join ops.estimate_outcomes as outcomes
    on outcomes.estimate_id = scenes.estimate_id and outcomes.scene_key = scenes.scene_key
where scenes.estimate_id = %(id)s
order by scenes.ordinal;

-- name: calibration
select * from mart.generation_metrics
where (%(workflow)s::text is null or workflow = %(workflow)s)
order by workflow, tier nulls first;

-- name: scores
-- Bias: how far the sum of predictions is above the sum of actuals. MdAPE: median absolute error of the median's
-- prediction. Coverage: how often the actual lay within P10-P90, among those that had an interval.
select
    workflow,
    tier,
    date_trunc(%(grain)s, finished_at, %(zone)s) as bucket,
    count(*) as scene_count,
    sum(wall_seconds_mean) / nullif(sum(wall_seconds_actual), 0) - 1 as wall_bias_ratio,
    percentile_cont(0.5) within group (
        order by abs(wall_seconds_p50 - wall_seconds_actual) / nullif(wall_seconds_actual, 0)) as wall_mdape_ratio,
    avg(case when wall_seconds_actual between wall_seconds_p10 and wall_seconds_p90 then 1.0 else 0.0 end)
        filter (where wall_seconds_p10 is not null)::double precision as wall_coverage_ratio,
    sum(gpu_seconds_mean) filter (where gpu_seconds_actual is not null)
        / nullif(sum(gpu_seconds_actual) filter (where gpu_seconds_mean is not null), 0) - 1 as gpu_bias_ratio,
    percentile_cont(0.5) within group (
        order by abs(gpu_seconds_p50 - gpu_seconds_actual) / nullif(gpu_seconds_actual, 0)) as gpu_mdape_ratio,
    avg(case when gpu_seconds_actual between gpu_seconds_p10 and gpu_seconds_p90 then 1.0 else 0.0 end)
        filter (where gpu_seconds_p10 is not null and gpu_seconds_actual is not null)::double precision
        as gpu_coverage_ratio,
    sum(disk_mb_mean) filter (where disk_mb_actual is not null)
        / nullif(sum(disk_mb_actual) filter (where disk_mb_mean is not null), 0) - 1 as disk_bias_ratio
from mart.estimate_scores
where wall_seconds_mean is not null
  and (%(workflow)s::text is null or workflow = %(workflow)s)
  and finished_at >= %(start)s and finished_at < %(end)s
group by workflow, tier, date_trunc(%(grain)s, finished_at, %(zone)s)
order by bucket, workflow, tier nulls first;
