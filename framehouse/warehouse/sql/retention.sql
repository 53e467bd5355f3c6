-- Dropping raw chunks behind the fence. Writers hold the fence's lock shared, for the length of a transaction.

-- name: policy
select raw_keep, nullif(raw_from, '-infinity') as raw_from from ops.retention;

-- name: set_keep
update ops.retention set raw_keep = %(keep)s;

-- name: chunks
-- Chunks of raw data, oldest first, with all that belongs to them (indexes, toast, columnstore).
select hypertables.name as relation, chunks.range_start, chunks.range_end, sizes.total_bytes::bigint
from (values ('telemetry.performance_metrics', 'attempts'), ('telemetry.worker_heartbeats', 'heartbeats'))
    as hypertables (relation, name)
cross join lateral chunks_detailed_size(hypertables.relation::regclass) as sizes
join timescaledb_information.chunks as chunks
    on chunks.chunk_schema = sizes.chunk_schema and chunks.chunk_name = sizes.chunk_name
order by chunks.range_end, hypertables.name;

-- name: wait_briefly
-- Everybody waits behind whoever waits for a lock like these, so they are not waited for long.
set lock_timeout = '3s';

-- name: wait_patiently
set lock_timeout = '10min';

-- name: hold_fence
select pg_advisory_lock(hashtext('framehouse.fence'));

-- name: hold_maintenance
select pg_advisory_lock(hashtext('framehouse.maintain'));

-- name: stop_changes
-- No rows come or go until the end of this transaction, since whoever deletes does not ask for the fence; and nobody
-- reads, since a dropped chunk is gone for snapshots that began before, too.
lock table only telemetry.performance_metrics, only telemetry.worker_heartbeats in access exclusive mode;

-- name: has_marks_below
select exists (select from ops.touched_buckets where bucket < %(fence)s)
    or exists (select from ops.touched_days where bucket < %(fence)s)
    or exists (select from ops.pending_buckets where bucket < %(fence)s);

-- name: move_fence
update ops.retention set raw_from = greatest(raw_from, %(fence)s);

-- name: drop_chunks
select drop_chunks('telemetry.performance_metrics', older_than => %(before)s::timestamptz)
union all
select drop_chunks('telemetry.worker_heartbeats', older_than => %(before)s::timestamptz);
