-- New shapes of rollups take the places of the old ones.

-- name: beside
-- Finer ones first: that is the order in which they were made.
select name, renews, cells, view_select, recompute from ops.rollups where renews is not null
order by created_at, array_position(array['fine', 'block', 'day'], grain), name;

-- name: is_backfilled
select not exists (
    select from ops.pending_buckets as pending join ops.rollups as rollups on rollups.name = pending.rollup
    where rollups.renews is not null);

-- name: be_alone
select pg_advisory_xact_lock(hashtext('framehouse.maintain'));

-- name: be_owner
-- Of the views that are made, so that those may read them who may read the others.
set local role framehouse_owner;

-- name: marts
select viewname as name, definition from pg_views where schemaname = 'mart' order by viewname;

-- name: lost_marts
select name from unnest(%(names)s::text[]) as name where to_regclass('mart.' || quote_ident(name)) is null;

-- name: retire
with old as (delete from ops.rollups where name = %(name)s returning cells, name, definition)
insert into ops.retired_rollups (cells, name, definition) select cells, name, definition from old;

-- name: release
-- The old one can go only when nobody says that he renews it.
update ops.rollups set renews = null where name = %(name)s;

-- name: take_place
update ops.rollups set name = %(renews)s, view_select = %(view_select)s, recompute = %(recompute)s
where name = %(name)s;

-- name: forget
delete from ops.rollups where name = %(name)s;

-- name: is_community
select current_setting('timescaledb.license') = 'timescale';
