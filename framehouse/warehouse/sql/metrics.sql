-- name: state
select (select studio_zone from ops.studio_settings) as studio_zone,
       (select nullif(raw_from, '-infinity') from ops.retention) as raw_from,
       coalesce((select jsonb_object_agg(name, nullif(complete_from, '-infinity')) from ops.rollups), '{}') as built;

-- name: ids
select 'workflow' as kind, name, id from studio.workflows where name = any(%(workflow)s)
union all select 'tier', name, id from studio.resolution_tiers where name = any(%(tier)s)
union all select 'project', name, id from studio.projects where name = any(%(project)s)
union all select 'character', name, id from studio.characters where name = any(%(character)s)
union all select 'scene', name, id from studio.scenes where name = any(%(scene)s)
union all select 'scene_type', name, id from studio.scene_types where name = any(%(scene_type)s)
union all select 'worker', name, id from studio.workers where name = any(%(worker)s);
