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
    scenes.energy_joules_mean, scenes.energy_joules_p10, scenes.energy_joules_p50, scenes.energy_joules_p90,
    scenes.vram_peak_mb_mean, scenes.vram_peak_mb_p10, scenes.vram_peak_mb_p50, scenes.vram_peak_mb_p90,
    scenes.rss_peak_mb_mean, scenes.rss_peak_mb_p10, scenes.rss_peak_mb_p50, scenes.rss_peak_mb_p90,
    scenes.cost_mean, scenes.cost_p10, scenes.cost_p50, scenes.cost_p90,
    outcomes.attempt_count, outcomes.gpu_seconds as gpu_seconds_actual, outcomes.wall_seconds as wall_seconds_actual,
    outcomes.output_mb as disk_mb_actual, outcomes.energy_joules as energy_joules_actual,
    outcomes.vram_peak_mb as vram_peak_mb_actual, outcomes.rss_peak_mb as rss_peak_mb_actual, outcomes.finished_at,
    progress.left_ratio = 0 as is_done
from ops.estimate_scenes as scenes
join ops.estimate_progress as progress
    on progress.estimate_id = scenes.estimate_id and progress.scene_key = scenes.scene_key
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
-- prediction. Coverage: how often the actual lay within P10-P90, among those that had an interval. Of scenes that are
-- done: a part is no actual of the whole.
with scores as (
    select
        workflow, tier, quantity,
        date_trunc(%(grain)s, finished_at, %(zone)s) as bucket,
        count(*) as scene_count,
        sum(mean) filter (where actual is not null) / nullif(sum(actual) filter (where mean is not null), 0) - 1
            as bias_ratio,
        percentile_cont(0.5) within group (order by abs(p50 - actual) / nullif(actual, 0)) as mdape_ratio,
        avg(case when actual between p10 and p90 then 1.0 else 0.0 end)
            filter (where p10 is not null and actual is not null)::double precision as coverage_ratio
    from mart.estimate_scores
    cross join lateral (values
        ('wall', wall_seconds_mean, wall_seconds_p10, wall_seconds_p50, wall_seconds_p90, wall_seconds_actual),
        ('gpu', gpu_seconds_mean, gpu_seconds_p10, gpu_seconds_p50, gpu_seconds_p90, gpu_seconds_actual),
        ('disk', disk_mb_mean, disk_mb_p10, disk_mb_p50, disk_mb_p90, disk_mb_actual),
        ('energy', energy_joules_mean, energy_joules_p10, energy_joules_p50, energy_joules_p90, energy_joules_actual),
        ('vram', vram_peak_mb_mean, vram_peak_mb_p10, vram_peak_mb_p50, vram_peak_mb_p90, vram_peak_mb_actual),
        ('rss', rss_peak_mb_mean, rss_peak_mb_p10, rss_peak_mb_p50, rss_peak_mb_p90, rss_peak_mb_actual)
    ) as quantities (quantity, mean, p10, p50, p90, actual)
    where is_done and wall_seconds_mean is not null
      and (%(workflow)s::text is null or workflow = %(workflow)s)
      and finished_at >= %(start)s and finished_at < %(end)s
    group by workflow, tier, quantity, bucket
)
select
    workflow, tier, bucket, max(scene_count) as scene_count,
    max(bias_ratio) filter (where quantity = 'wall') as wall_bias_ratio,
    max(mdape_ratio) filter (where quantity = 'wall') as wall_mdape_ratio,
    max(coverage_ratio) filter (where quantity = 'wall') as wall_coverage_ratio,
    max(bias_ratio) filter (where quantity = 'gpu') as gpu_bias_ratio,
    max(mdape_ratio) filter (where quantity = 'gpu') as gpu_mdape_ratio,
    max(coverage_ratio) filter (where quantity = 'gpu') as gpu_coverage_ratio,
    max(bias_ratio) filter (where quantity = 'disk') as disk_bias_ratio,
    max(mdape_ratio) filter (where quantity = 'disk') as disk_mdape_ratio,
    max(coverage_ratio) filter (where quantity = 'disk') as disk_coverage_ratio,
    max(bias_ratio) filter (where quantity = 'energy') as energy_bias_ratio,
    max(mdape_ratio) filter (where quantity = 'energy') as energy_mdape_ratio,
    max(coverage_ratio) filter (where quantity = 'energy') as energy_coverage_ratio,
    max(bias_ratio) filter (where quantity = 'vram') as vram_bias_ratio,
    max(mdape_ratio) filter (where quantity = 'vram') as vram_mdape_ratio,
    max(coverage_ratio) filter (where quantity = 'vram') as vram_coverage_ratio,
    max(bias_ratio) filter (where quantity = 'rss') as rss_bias_ratio,
    max(mdape_ratio) filter (where quantity = 'rss') as rss_mdape_ratio,
    max(coverage_ratio) filter (where quantity = 'rss') as rss_coverage_ratio
from scores
group by workflow, tier, bucket
order by bucket, workflow, tier nulls first;

-- name: totals
select * from mart.estimate_total_scores where estimate_id = %(id)s;

-- name: total_scores
-- The same measures of whole estimates. With a workflow: of those that estimated no other.
select
    quantity,
    count(*) as estimate_count,
    sum(mean) / nullif(sum(actual), 0) - 1 as bias_ratio,
    percentile_cont(0.5) within group (order by abs(p50 - actual) / nullif(actual, 0)) as mdape_ratio,
    avg(case when actual between p10 and p90 then 1.0 else 0.0 end)
        filter (where p10 is not null)::double precision as coverage_ratio
from mart.estimate_total_scores as scores
cross join lateral (values
    (1, 'gpu_hours', gpu_hours_mean, gpu_hours_p10, gpu_hours_p50, gpu_hours_p90, gpu_hours_actual),
    (2, 'wall_hours', wall_hours_mean, wall_hours_p10, wall_hours_p50, wall_hours_p90, wall_hours_actual),
    (3, 'disk_gb', disk_gb_mean, disk_gb_p10, disk_gb_p50, disk_gb_p90, disk_gb_actual),
    (4, 'energy_kwh', energy_kwh_mean, energy_kwh_p10, energy_kwh_p50, energy_kwh_p90, energy_kwh_actual)
) as totals (place, quantity, mean, p10, p50, p90, actual)
where mean is not null and actual is not null
  and finished_at >= %(start)s and finished_at < %(end)s
  and (%(workflow)s::text is null or not exists (
      select from ops.estimate_scenes as scenes
      where scenes.estimate_id = scores.estimate_id and scenes.workflow <> %(workflow)s and scenes.reason is null))
group by place, quantity
order by place;
