-- name: is_community
select current_setting('timescaledb.license') = 'timescale';

-- name: try_lock
-- Held by a session: one maintainer of a database at a time.
select pg_try_advisory_lock(hashtext('framehouse.maintain'));

-- name: hold_raw
-- What no snapshot holds: chunks of raw, and views, which a renewal replaces. Takes no snapshot itself. ONLY: whoever
-- drops chunks locks the hypertables, so their chunks need no locks of ours.
lock table only telemetry.performance_metrics, only telemetry.worker_heartbeats, ops.rollups in access share mode;

-- name: unlock
select pg_advisory_unlock(hashtext('framehouse.maintain'));

-- name: newest_mark
select coalesce(max(id), 0) from ops.touched_buckets;

-- name: rollups
select name, source, grain, cells, studio_zone, recompute, (select block_minutes from ops.studio_settings)
from ops.rollups
order by array_position(array['fine', 'block', 'day'], grain), created_at, name;

-- name: forget_below_fence
with fine as (delete from ops.touched_buckets where bucket < (select raw_from from ops.retention)),
     day as (delete from ops.touched_days where bucket < (select raw_from from ops.retention))
select;

-- name: touched_buckets
select bucket, array_agg(id) as ids
from (select id, bucket from ops.touched_buckets
      where source = %(source)s and id <= %(newest)s and bucket >= (select raw_from from ops.retention)
      order by id limit 50000) as oldest
group by bucket
order by bucket
limit %(limit)s;

-- name: touched_days
select bucket, array_agg(id) as ids
from (select id, bucket from ops.touched_days
      where source = %(source)s and bucket >= (select raw_from from ops.retention) order by id limit 50000) as oldest
group by bucket
order by bucket
limit %(limit)s;

-- name: add_touched_days
insert into ops.touched_days (source, bucket)
select distinct %(source)s, time_bucket(interval '1 day', bucket, %(zone)s::text)
from unnest(%(buckets)s::timestamptz[]) as bucket
where %(zone)s::text is not null;

-- name: delete_bucket_marks
delete from ops.touched_buckets where id = any(%s);

-- name: delete_day_marks
delete from ops.touched_days where id = any(%s);

-- name: pending
select bucket from ops.pending_buckets where rollup = %(rollup)s order by bucket desc limit %(limit)s;

-- name: delete_pending
delete from ops.pending_buckets where rollup = %(rollup)s and bucket = any(%(buckets)s);

-- name: backlog
select (select count(*) from ops.touched_buckets) as touched_buckets,
       (select count(*) from ops.touched_days) as touched_days,
       (select count(*) from ops.pending_buckets) as pending_buckets;

-- name: next_day
select time_bucket(interval '1 day', %(day)s::timestamptz + interval '26 hours', %(zone)s::text);

-- name: calendar
select studio_zone, block_minutes from ops.studio_settings;

-- name: fix_calendar
insert into ops.studio_settings (studio_zone, block_minutes) values (%s, %s) on conflict do nothing;

-- name: is_zone
select exists (select from pg_timezone_names where name = %s);

-- name: last_build
select fingerprint from ops.builds order by id desc limit 1;

-- name: add_build
insert into ops.builds (fingerprint) values (%s);
