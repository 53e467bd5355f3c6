-- What the writer runs, in this order, within one transaction.

-- name: hold_fence
select pg_advisory_xact_lock_shared(hashtext('framehouse.fence'));

-- name: raw_from
select nullif(raw_from, '-infinity') from ops.retention;

-- name: claim_attempts
-- In key order, so that two batches with the same attempts wait for each other instead of deadlocking.
insert into ops.attempt_ledger (job_id, attempt, body_hash, finished_at)
select job_id, attempt, body_hash, finished_at
from unnest(%(job_ids)s::text[], %(attempts)s::smallint[], %(hashes)s::bytea[], %(finished)s::timestamptz[])
    as claim (job_id, attempt, body_hash, finished_at)
order by job_id collate "C", attempt
on conflict do nothing
returning job_id, attempt;

-- name: known_hashes
select l.job_id, l.attempt, l.body_hash
from ops.attempt_ledger l
join unnest(%(job_ids)s::text[], %(attempts)s::smallint[]) as claim (job_id, attempt)
    on l.job_id = claim.job_id and l.attempt = claim.attempt;

-- name: ids_by_name
select 'workflow' as kind, name, id from studio.workflows where name = any(%(workflow)s)
union all select 'project', name, id from studio.projects where name = any(%(project)s)
union all select 'character', name, id from studio.characters where name = any(%(character)s)
union all select 'scene', name, id from studio.scenes where name = any(%(scene)s)
union all select 'scene_type', name, id from studio.scene_types where name = any(%(scene_type)s)
union all select 'worker', name, id from studio.workers where name = any(%(worker)s);

-- name: tiers
select name, id from studio.resolution_tiers where archived_at is null order by sort_order, name;

-- name: register_workflow
insert into studio.workflows (name) select name from unnest(%s::text[]) as name order by name collate "C"
on conflict do nothing;

-- name: register_project
insert into studio.projects (name) select name from unnest(%s::text[]) as name order by name collate "C"
on conflict do nothing;

-- name: register_character
insert into studio.characters (name) select name from unnest(%s::text[]) as name order by name collate "C"
on conflict do nothing;

-- name: register_scene
insert into studio.scenes (name) select name from unnest(%s::text[]) as name order by name collate "C"
on conflict do nothing;

-- name: register_scene_type
insert into studio.scene_types (name) select name from unnest(%s::text[]) as name order by name collate "C"
on conflict do nothing;

-- name: register_worker
insert into studio.workers (name) select name from unnest(%s::text[]) as name order by name collate "C"
on conflict do nothing;

-- name: add_outcomes
-- What is new of a scored scene is marked, to be judged by maintenance.
with done as (
    -- A sum that lacks a part is unknown, not smaller.
    select estimate_id, scene_key, count(*) as attempt_count,
           case when count(gpu_seconds) = count(*) then sum(gpu_seconds) end as gpu_seconds,
           sum(wall_seconds) as wall_seconds,
           case when count(output_mb) = count(*) then sum(output_mb) end as output_mb,
           case when count(energy_joules) = count(*) then sum(energy_joules) end as energy_joules,
           case when count(vram_peak_mb) = count(*) then max(vram_peak_mb) end as vram_peak_mb,
           case when count(rss_peak_mb) = count(*) then max(rss_peak_mb) end as rss_peak_mb,
           case when count(segment_count) = count(*) then sum(segment_count) end as segment_count,
           max(finished_at) as finished_at
    from unnest(%(estimate_ids)s::uuid[], %(scene_keys)s::text[], %(gpu)s::double precision[],
                %(wall)s::double precision[], %(output)s::double precision[], %(energy)s::double precision[],
                %(vram)s::double precision[], %(rss)s::double precision[], %(segments)s::bigint[],
                %(finished)s::timestamptz[])
        as attempts (estimate_id, scene_key, gpu_seconds, wall_seconds, output_mb, energy_joules, vram_peak_mb,
                     rss_peak_mb, segment_count, finished_at)
    group by estimate_id, scene_key
),
changed as (
    insert into ops.estimate_outcomes as known
        (estimate_id, scene_key, attempt_count, gpu_seconds, wall_seconds, output_mb, energy_joules, vram_peak_mb,
         rss_peak_mb, segment_count, finished_at, workflow, tier)
    select done.estimate_id, done.scene_key, attempt_count, gpu_seconds, wall_seconds, output_mb, energy_joules,
           vram_peak_mb, rss_peak_mb, segment_count, finished_at, scenes.workflow, scenes.tier
    from done
    left join ops.estimate_scenes as scenes
        on scenes.estimate_id = done.estimate_id and scenes.scene_key = done.scene_key
    order by done.estimate_id, done.scene_key collate "C"
    on conflict (estimate_id, scene_key) do update set
        attempt_count = known.attempt_count + excluded.attempt_count,
        gpu_seconds = known.gpu_seconds + excluded.gpu_seconds,
        wall_seconds = known.wall_seconds + excluded.wall_seconds,
        output_mb = known.output_mb + excluded.output_mb,
        energy_joules = known.energy_joules + excluded.energy_joules,
        -- `greatest` would forget that one of both is unknown.
        vram_peak_mb = case when known.vram_peak_mb >= excluded.vram_peak_mb then known.vram_peak_mb
                            when known.vram_peak_mb is not null then excluded.vram_peak_mb end,
        rss_peak_mb = case when known.rss_peak_mb >= excluded.rss_peak_mb then known.rss_peak_mb
                           when known.rss_peak_mb is not null then excluded.rss_peak_mb end,
        segment_count = known.segment_count + excluded.segment_count,
        finished_at = greatest(known.finished_at, excluded.finished_at),
        workflow = excluded.workflow,
        tier = excluded.tier
    returning workflow, tier
)
insert into ops.touched_scores (workflow, tier)
select distinct workflow, tier from changed where workflow is not null;

-- name: projects_of_estimates
select estimates.id, coalesce(commitments.project, estimates.project) as project
from ops.estimates as estimates
left join ops.commitments as commitments on commitments.estimate_id = estimates.id
where estimates.id = any(%s) and coalesce(commitments.project, estimates.project) is not null;

-- name: quarantine
insert into ops.quarantine (origin, code, body, problems)
select %(origin)s, code, body, problems
from unnest(%(codes)s::text[], %(bodies)s::bytea[], %(problems)s::jsonb[]) with ordinality
    as refused (code, body, problems, place)
order by place;

-- name: quarantine_once
-- A file that is loaded again brings its refused lines again.
insert into ops.quarantine (origin, code, body, problems)
select %(origin)s, code, body, problems
from unnest(%(codes)s::text[], %(bodies)s::bytea[], %(problems)s::jsonb[]) with ordinality
    as refused (code, body, problems, place)
where not exists (
    select from ops.quarantine known
    where known.replayed_at is null and known.origin = %(origin)s and known.body = refused.body)
order by place;

-- name: lock_worker
-- One writer of a worker's heartbeats at a time, so that overlaps are seen.
select pg_advisory_xact_lock(hashtext('framehouse.heartbeat'), %s);

-- name: add_heartbeat
-- Only what no earlier heartbeat of the worker covers, cut at bucket boundaries.
with fresh as (
    select unnest(
        tstzmultirange(tstzrange(%(covered_from)s, %(covered_to)s)) - coalesce(
            (select range_agg(tstzrange(h.covered_from, h.covered_to))
             from telemetry.worker_heartbeats h
             where h.worker_id = %(worker_id)s
               and h.covered_from >= %(covered_from)s::timestamptz - interval '15 minutes'
               and h.covered_from < %(covered_to)s),
            '{}'::tstzmultirange)) as span
),
cut as (
    select span * tstzrange(bucket, bucket + interval '15 minutes') as piece
    from fresh,
         generate_series(date_bin('15 minutes', lower(span), '2000-01-01 00:00:00+00'), upper(span),
                         interval '15 minutes') as bucket
)
insert into telemetry.worker_heartbeats (covered_from, covered_to, worker_id, state)
select lower(piece), upper(piece), %(worker_id)s, %(state)s from cut where not isempty(piece)
returning covered_seconds;

-- name: put_queue
insert into studio.queue (waiting, running) values (%(waiting)s, %(running)s)
on conflict (is_present) do update set waiting = excluded.waiting, running = excluded.running, created_at = now();

-- name: database_identity
-- Which database this is: what was loaded into another one, or before this one was made anew, is not in it.
select d.oid::text || '/' || coalesce((select extract(epoch from created_at)::text from ops.studio_settings), '')
from pg_database d
where d.datname = current_database();
