-- Whether the estimates of a workflow and tier are off, and since when.

-- name: try_lock
-- One recorder of a database at a time, until the end of the transaction.
select pg_try_advisory_xact_lock(hashtext('framehouse.alarms'));

-- name: newest_mark
select coalesce(max(id), 0) from ops.touched_scores;

-- name: touched
select workflow, tier, array_agg(id) as ids
from (select id, workflow, tier from ops.touched_scores where id <= %(newest)s order by id limit 50000) as oldest
group by workflow, tier
order by min(id), workflow, tier
limit %(limit)s;

-- name: delete_marks
delete from ops.touched_scores where id = any(%s);

-- name: scenes
-- The newest scored scenes of one workflow and tier, the oldest first: those that are done and had an interval. By the
-- index from the newest back, unless the planner takes them for few: as it does where it is asked what is equal to 0, or
-- not distinct from null.
select *
from (
    select
        outcomes.estimate_id, outcomes.scene_key, outcomes.finished_at,
        scenes.gpu_seconds_mean, scenes.gpu_seconds_p10, scenes.gpu_seconds_p50, scenes.gpu_seconds_p90,
        outcomes.gpu_seconds as gpu_seconds_actual,
        scenes.wall_seconds_mean, scenes.wall_seconds_p10, scenes.wall_seconds_p50, scenes.wall_seconds_p90,
        outcomes.wall_seconds as wall_seconds_actual,
        scenes.disk_mb_mean, scenes.disk_mb_p10, scenes.disk_mb_p50, scenes.disk_mb_p90,
        outcomes.output_mb as disk_mb_actual,
        scenes.energy_joules_mean, scenes.energy_joules_p10, scenes.energy_joules_p50, scenes.energy_joules_p90,
        outcomes.energy_joules as energy_joules_actual,
        scenes.vram_peak_mb_mean, scenes.vram_peak_mb_p10, scenes.vram_peak_mb_p50, scenes.vram_peak_mb_p90,
        outcomes.vram_peak_mb as vram_peak_mb_actual,
        scenes.rss_peak_mb_mean, scenes.rss_peak_mb_p10, scenes.rss_peak_mb_p50, scenes.rss_peak_mb_p90,
        outcomes.rss_peak_mb as rss_peak_mb_actual
    from ops.estimate_outcomes as outcomes
    join ops.estimate_scenes as scenes
        on scenes.estimate_id = outcomes.estimate_id and scenes.scene_key = outcomes.scene_key
    join ops.estimate_progress as progress
        on progress.estimate_id = outcomes.estimate_id and progress.scene_key = outcomes.scene_key
    where outcomes.workflow = %(workflow)s
        and (outcomes.tier = %(tier)s or outcomes.tier is null and %(tier)s::text is null)
        and scenes.wall_seconds_p10 is not null and progress.left_ratio <= 0
    order by outcomes.finished_at desc
    limit %(limit)s) as newest
order by finished_at, estimate_id, scene_key;

-- name: latest
-- Of one workflow and tier each alarm that is open, and where none is the one that was closed last.
select distinct on (quantity, kind) id, quantity, kind, closed_at is null as is_open, until_at
from ops.estimate_alarms
where workflow = %(workflow)s and tier is not distinct from %(tier)s
order by quantity, kind, closed_at desc nulls first;

-- name: raise
insert into ops.estimate_alarms
    (workflow, tier, quantity, kind, since_at, until_at, scene_count, bias_ratio, coverage_ratio)
values (%(workflow)s, %(tier)s, %(quantity)s, %(kind)s, %(since_at)s, %(until_at)s, %(scene_count)s, %(bias_ratio)s,
        %(coverage_ratio)s)
returning id;

-- name: confirm
-- What newer scenes say of an alarm that stays open; since when it is stays, too.
update ops.estimate_alarms
set since_at = least(since_at, %(since_at)s), until_at = %(until_at)s, scene_count = %(scene_count)s,
    bias_ratio = %(bias_ratio)s, coverage_ratio = %(coverage_ratio)s
where id = %(id)s;

-- name: close
update ops.estimate_alarms set closed_at = now(), until_at = %(until_at)s where id = %(id)s;

-- name: some
select
    workflow, tier, quantity, kind, opened_at, closed_at, since_at, until_at, scene_count, bias_ratio, coverage_ratio
from ops.estimate_alarms where id = any(%s) order by id;

-- name: open
-- By the index of open alarms.
select
    workflow, tier, quantity, kind, opened_at, closed_at, since_at, until_at, scene_count, bias_ratio, coverage_ratio
from ops.estimate_alarms
where closed_at is null and workflow = any(%(workflows)s)
order by workflow collate "C", tier collate "C" nulls first, quantity, kind;

-- name: history
select
    workflow, tier, quantity, kind, opened_at, closed_at, since_at, until_at, scene_count, bias_ratio, coverage_ratio
from ops.estimate_alarms
where (%(workflow)s::text is null or workflow = %(workflow)s)
    and opened_at < %(end)s and (closed_at is null or closed_at >= %(start)s)
order by closed_at desc nulls first, opened_at desc, id desc
limit %(limit)s;
