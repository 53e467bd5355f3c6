-- Dropping raw chunks behind the fence. Writers hold the fence's lock shared, for the length of a transaction.

-- name: policy
select raw_keep, nullif(raw_from, '-infinity') as raw_from from ops.retention;

-- name: set_keep
update ops.retention set raw_keep = %(keep)s;

-- name: chunks
-- Chunks of raw data, oldest first, with all that belongs to them (indexes, toast, columnstore).
select hypertables.name as relation, chunks.range_start, chunks.range_end,
       coalesce(sizes.total_bytes, 0)::bigint as total_bytes
from (values ('telemetry', 'performance_metrics', 'attempts'), ('telemetry', 'worker_heartbeats', 'heartbeats'))
    as hypertables (schema, relation, name)
join timescaledb_information.chunks as chunks
    on chunks.hypertable_schema = hypertables.schema and chunks.hypertable_name = hypertables.relation
left join lateral (
    select total_bytes from chunks_detailed_size((hypertables.schema || '.' || hypertables.relation)::regclass)
    where chunk_schema = chunks.chunk_schema and chunk_name = chunks.chunk_name
) as sizes on true
order by chunks.range_end, hypertables.name;

-- name: wait_briefly
-- Writers wait behind whoever waits for the fence, so it is not waited for long.
set lock_timeout = '30s';

-- name: hold_fence
select pg_advisory_lock(hashtext('framehouse.fence'));

-- name: hold_maintenance
select pg_advisory_lock(hashtext('framehouse.maintain'));

-- name: stop_changes
-- No rows come or go until the end of this transaction: whoever deletes does not ask for the fence.
lock table telemetry.performance_metrics, telemetry.worker_heartbeats in share row exclusive mode;

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
