-- name: page
select id, received_at, origin, code, octet_length(body) as size_bytes, problems, replayed_at, replay_status
from ops.quarantine
where id > %(after)s and (%(include_replayed)s or replayed_at is null) and (%(code)s::text is null or code = %(code)s)
order by id
limit %(limit)s;

-- name: one
select id, received_at, origin, code, body, problems, replayed_at, replay_status
from ops.quarantine
where id = %(id)s;

-- name: count_open
select count(*) from ops.quarantine where replayed_at is null;

-- name: mark_replayed
-- What was discarded can still be replayed.
update ops.quarantine set replayed_at = now(), replay_status = %(status)s
where id = %(id)s and (replayed_at is null or replay_status = 'discarded' and %(status)s <> 'discarded');

-- name: open_ids
select id from ops.quarantine
where replayed_at is null and id > %(after)s and (%(code)s::text is null or code = %(code)s)
order by id
limit %(limit)s;
