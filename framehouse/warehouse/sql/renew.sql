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

-- name: wait_briefly
-- All readers wait behind whoever waits to put a view in another's place.
set local lock_timeout = '2s';

-- name: hold_rollups
-- Readers of an instant hold this from before it: a view that they have yet to read is that of their instant.
lock table ops.rollups in access exclusive mode;

-- name: be_owner
-- Of the views that are made, so that those may read them who may read the others.
set local role framehouse_owner;

-- name: marts
-- Those that read others first.
select views.viewname as name
from pg_views as views
where views.schemaname = 'mart'
order by exists (
    select from pg_depend join pg_rewrite on pg_rewrite.oid = pg_depend.objid
    where pg_depend.refobjid = ('mart.' || quote_ident(views.viewname))::regclass
        and pg_rewrite.ev_class <> pg_depend.refobjid), views.viewname;

-- name: columns
select array_agg(attname::text order by attnum) from pg_attribute
where attrelid = %(view)s::regclass and attnum > 0 and not attisdropped;

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
