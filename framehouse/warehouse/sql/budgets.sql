-- name: all
select
    budgets.id, budgets.name, projects.name as project, budgets.quantity, budgets.amount, budgets.period,
    budgets.starts_at, budgets.ends_at, budgets.warn_ratio, budgets.block_ratio,
    budgets.archived_at, budgets.created_at, budgets.updated_at
from studio.budgets as budgets
left join studio.projects as projects on projects.id = budgets.project_id
where (%(include_archived)s or budgets.archived_at is null)
order by budgets.name collate "C";

-- name: one
-- By its id, or by its name.
select
    budgets.id, budgets.name, projects.name as project, budgets.quantity, budgets.amount, budgets.period,
    budgets.starts_at, budgets.ends_at, budgets.warn_ratio, budgets.block_ratio,
    budgets.archived_at, budgets.created_at, budgets.updated_at
from studio.budgets as budgets
left join studio.projects as projects on projects.id = budgets.project_id
where budgets.id = %(id)s or budgets.name = %(name)s;

-- name: lock
-- One writer at a time, so that a taken name is seen.
lock table studio.budgets in share row exclusive mode;

-- name: register_project
-- A budget may be there before the project's first job.
insert into studio.projects (name) select %(project)s where %(project)s::text is not null on conflict do nothing;

-- name: create
insert into studio.budgets (name, project_id, quantity, amount, period, starts_at, ends_at, warn_ratio, block_ratio)
values (%(name)s, (select id from studio.projects where name = %(project)s), %(quantity)s, %(amount)s, %(period)s,
        %(starts_at)s, %(ends_at)s, %(warn_ratio)s, %(block_ratio)s)
returning id;

-- name: change
update studio.budgets
set name = %(name)s, project_id = (select id from studio.projects where name = %(project)s), quantity = %(quantity)s,
    amount = %(amount)s, period = %(period)s, starts_at = %(starts_at)s, ends_at = %(ends_at)s,
    warn_ratio = %(warn_ratio)s, block_ratio = %(block_ratio)s, archived_at = null
where id = %(id)s;

-- name: archive
update studio.budgets set archived_at = coalesce(archived_at, now()) where id = %(id)s;

-- name: lock_submissions
-- One submission at a time, on budgets that stay as they are: two would otherwise each find room for itself alone.
-- Takes no snapshot, so that the one that is taken next sees what the submission before has committed.
lock table ops.commitments, studio.budgets in share row exclusive mode;

-- name: finish_commitments
update ops.commitments as commitments
set finished_at = now()
where released_at is null and finished_at is null and not exists (
    select from ops.estimate_progress as progress
    where progress.estimate_id = commitments.estimate_id and progress.left_ratio > 0);

-- name: committed
-- What is predicted of that part of submitted scenes that has not been made yet, and how many have no prediction.
select
    count(*) as scene_count,
    coalesce(sum(scenes.gpu_seconds_mean * left_ratio), 0) as gpu_seconds,
    count(scenes.gpu_seconds_mean) as gpu_seconds_count,
    coalesce(sum(scenes.cost_mean * left_ratio), 0) as cost, count(scenes.cost_mean) as cost_count,
    coalesce(sum(scenes.disk_mb_mean * left_ratio), 0) as disk_mb, count(scenes.disk_mb_mean) as disk_mb_count
from ops.commitments as commitments
join ops.estimate_scenes as scenes on scenes.estimate_id = commitments.estimate_id
join ops.estimate_progress as progress
    on progress.estimate_id = scenes.estimate_id and progress.scene_key = scenes.scene_key
where commitments.released_at is null and commitments.finished_at is null
    and (%(project)s::text is null or commitments.project = %(project)s)
    and left_ratio > 0;

-- name: asked
-- The same of one estimate that is about to be submitted, and how many of its scenes nobody has begun.
select
    count(*) as scene_count,
    count(*) filter (where left_ratio = 1) as whole_scenes,
    coalesce(sum(scenes.gpu_seconds_mean * left_ratio), 0) as gpu_seconds,
    count(scenes.gpu_seconds_mean) as gpu_seconds_count,
    coalesce(sum(scenes.cost_mean * left_ratio), 0) as cost, count(scenes.cost_mean) as cost_count,
    coalesce(sum(scenes.disk_mb_mean * left_ratio), 0) as disk_mb, count(scenes.disk_mb_mean) as disk_mb_count
from ops.estimate_scenes as scenes
join ops.estimate_progress as progress
    on progress.estimate_id = scenes.estimate_id and progress.scene_key = scenes.scene_key
where scenes.estimate_id = %(id)s and left_ratio > 0;

-- name: estimate
select project, total_scenes, answer -> 'totals' as totals from ops.estimates where id = %(id)s;

-- name: commitment
select estimate_id, project, committed_at, released_at, finished_at from ops.commitments where estimate_id = %(id)s;

-- name: commit
-- What was withdrawn can be submitted again.
insert into ops.commitments as known (estimate_id, project) values (%(id)s, %(project)s)
on conflict (estimate_id) do update
set project = excluded.project, committed_at = now(), released_at = null, finished_at = null
where known.released_at is not null
returning estimate_id, project, committed_at, released_at, finished_at;

-- name: release
update ops.commitments set released_at = now() where estimate_id = %(id)s and released_at is null;

-- name: add_crossing
insert into ops.budget_crossings
    (budget_id, level, period_starts_at, estimate_id, quantity, amount, spent, committed, asked, is_refused)
values (%(budget_id)s, %(level)s, %(period_starts_at)s, %(estimate_id)s, %(quantity)s, %(amount)s, %(spent)s,
        %(committed)s, %(asked)s, %(is_refused)s)
on conflict (budget_id, period_starts_at, level, quantity, amount) where not is_refused do nothing;

-- name: crossings
select
    crossings.id, crossings.budget_id, budgets.name as budget, projects.name as project, crossings.level,
    crossings.period_starts_at, crossings.estimate_id, crossings.quantity, crossings.amount, crossings.spent,
    crossings.committed, crossings.asked, crossings.is_refused, crossings.crossed_at
from ops.budget_crossings as crossings
join studio.budgets as budgets on budgets.id = crossings.budget_id
left join studio.projects as projects on projects.id = budgets.project_id
where (%(before)s::bigint is null or crossings.id < %(before)s)
    and (%(budget_id)s::integer is null or crossings.budget_id = %(budget_id)s)
order by crossings.id desc
limit %(limit)s;
