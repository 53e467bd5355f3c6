-- name: tiers
select id, name, width, height, quality_settings, speed_factor, is_default, sort_order, created_at
from studio.resolution_tiers
where archived_at is null
order by sort_order, name collate "C";

-- name: lock_tiers
-- One writer at a time: two that move the default would otherwise meet at the index that allows one.
lock table studio.resolution_tiers in share row exclusive mode;

-- name: clear_default_tier
update studio.resolution_tiers set is_default = false where is_default;

-- name: has_tier
select exists (select from studio.resolution_tiers where name = %s);

-- name: create_tier
insert into studio.resolution_tiers (name, width, height, quality_settings, speed_factor, is_default, sort_order)
values (%(name)s, %(width)s, %(height)s, %(quality_settings)s, %(speed_factor)s, %(is_default)s, %(sort_order)s)
returning id, name, width, height, quality_settings, speed_factor, is_default, sort_order, created_at;

-- name: workflows
select id, name, created_at from studio.workflows
where archived_at is null and (%(after)s::text is null or name collate "C" > %(after)s)
order by name collate "C"
limit %(limit)s;

-- name: workers
select id, name, created_at from studio.workers
where archived_at is null and (%(after)s::text is null or name collate "C" > %(after)s)
order by name collate "C"
limit %(limit)s;

-- name: projects
select id, name, created_at from studio.projects
where archived_at is null and (%(after)s::text is null or name collate "C" > %(after)s)
order by name collate "C"
limit %(limit)s;

-- name: built_rollups
select name from ops.rollups where renews is null;

-- name: lock_build
-- Held by a session: one builder of a database at a time, the others wait.
select pg_advisory_lock(hashtext('framehouse.build'));

-- name: ping
select 1;

-- name: named_workflow
-- By its name, or else by its id.
select id, name from studio.workflows where name = %(asked)s or id::text = %(asked)s order by name = %(asked)s desc limit 1;

-- name: named_worker
select id, name from studio.workers where name = %(asked)s or id::text = %(asked)s order by name = %(asked)s desc limit 1;

-- name: named_project
select id, name from studio.projects where name = %(asked)s or id::text = %(asked)s order by name = %(asked)s desc limit 1;

-- name: named_tier
select id, name from studio.resolution_tiers where name = %(asked)s or id::text = %(asked)s order by name = %(asked)s desc limit 1;
