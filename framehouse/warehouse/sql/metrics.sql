-- name: state
-- What there is, and which buckets near a window [start, end) are marked (null: more than the limit).
with fence as (select raw_from from ops.retention),
marks as (
    select distinct 'touched' as kind, source as name, bucket from ops.touched_buckets
    where bucket >= %(start)s::timestamptz - interval '2 days' and bucket < %(end)s
        and bucket >= (select raw_from from fence)
    union all
    select distinct 'day', source, bucket from ops.touched_days
    where bucket >= %(start)s::timestamptz - interval '2 days' and bucket < %(end)s
        and bucket >= (select raw_from from fence)
    union all
    select 'pending', rollup, bucket from ops.pending_buckets
    where bucket >= %(start)s::timestamptz - interval '2 days' and bucket < %(end)s
    limit %(limit)s + 1
)
select (select studio_zone from ops.studio_settings) as studio_zone,
       (select block_minutes from ops.studio_settings) as block_minutes,
       (select nullif(raw_from, '-infinity') from fence) as raw_from,
       coalesce((select jsonb_object_agg(name, jsonb_build_array(
                    cells, definition_hash, nullif(complete_from, '-infinity'), parts_from))
                 from ops.rollups where renews is null), '{}') as built,
       (select case when count(*) <= %(limit)s
                    then coalesce(jsonb_agg(jsonb_build_array(kind, name, bucket)), '[]') end
        from marks) as marks;

-- name: studio_zone
select studio_zone from ops.studio_settings;

-- name: definition
select definition from ops.rollups where name = %(name)s;

-- name: ids
select 'workflow' as kind, name, id from studio.workflows where name = any(%(workflow)s)
union all select 'tier', name, id from studio.resolution_tiers where name = any(%(tier)s)
union all select 'project', name, id from studio.projects where name = any(%(project)s)
union all select 'character', name, id from studio.characters where name = any(%(character)s)
union all select 'scene', name, id from studio.scenes where name = any(%(scene)s)
union all select 'scene_type', name, id from studio.scene_types where name = any(%(scene_type)s)
union all select 'worker', name, id from studio.workers where name = any(%(worker)s);
