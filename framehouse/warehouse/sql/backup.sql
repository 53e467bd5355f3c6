-- What `framehouse backup` and `framehouse restore` ask of a warehouse.

-- name: snapshot
select pg_export_snapshot();

-- name: compressed_chunks
select count(*) from timescaledb_information.chunks where is_compressed;

-- name: cells
-- Each rollup and the table that holds its cells.
select rollups.name, rollups.definition_hash,
       rollups.cells, coalesce(aggregates.materialization_hypertable_schema, split_part(rollups.cells, '.', 1)) as schema,
       coalesce(aggregates.materialization_hypertable_name, split_part(rollups.cells, '.', 2)) as relation
from ops.rollups as rollups
left join timescaledb_information.continuous_aggregates as aggregates
    on aggregates.view_schema || '.' || aggregates.view_name = rollups.cells
order by rollups.name;

-- name: tables
-- The warehouse's own tables, and for each the tables that it refers to.
select tables.schemaname as schema, tables.tablename as relation,
       coalesce(array_agg(distinct confrelid::regclass::text) filter (where confrelid is not null), '{}') as refers_to
from pg_tables as tables
left join pg_constraint as foreign_keys
    on foreign_keys.contype = 'f' and foreign_keys.confrelid <> foreign_keys.conrelid
    and foreign_keys.conrelid = (quote_ident(tables.schemaname) || '.' || quote_ident(tables.tablename))::regclass
where tables.schemaname in ('studio', 'telemetry', 'ops')
group by 1, 2
order by 1, 2;

-- name: left_out
-- What a restore does not make again.
select 'replaced cells ' || cells as what from ops.retired_rollups where to_regclass(cells) is not null
union all
select 'rollup ' || name || ', which stands beside ' || renews from ops.rollups where renews is not null
union all
select 'schema ' || nspname from pg_namespace
where nspname !~ '^(pg_|_?timescaledb_)'
    and nspname not in ('studio', 'telemetry', 'ops', 'rollup', 'mart', 'public', 'information_schema')
    and not exists (
        select from pg_depend where classid = 'pg_namespace'::regclass and objid = pg_namespace.oid and deptype = 'e')
order by what;

-- name: revision
select version_num from framehouse_version;

-- name: has_data
-- A restore replaces every row of these; a new warehouse has none but the tiers of the migration, untouched.
select exists (select from telemetry.performance_metrics) or exists (select from telemetry.worker_heartbeats)
    or exists (select from ops.attempt_ledger) or exists (select from ops.quarantine)
    or exists (select from ops.estimates) or exists (select from studio.budgets)
    or exists (select from studio.projects) or exists (select from studio.characters)
    or exists (select from studio.scene_types) or exists (select from studio.scenes)
    or exists (select from studio.workflows) or exists (select from studio.workers)
    or exists (select from studio.queue)
    or exists (select from studio.resolution_tiers
               where name not in ('draft', 'preview', 'production') or updated_at <> created_at);

-- name: be_alone
-- Until the end of the transaction neither writers nor maintenance come in. Maintenance first, as retention does: who
-- takes them in another order could wait for it for ever.
select pg_advisory_xact_lock(hashtext('framehouse.maintain')), pg_advisory_xact_lock(hashtext('framehouse.fence'));

-- name: let_tiers_go
-- The tiers of a new warehouse make room for those of the backup, which nobody refers to yet.
alter table studio.resolution_tiers disable trigger user;

-- name: keep_tiers
alter table studio.resolution_tiers enable trigger user;

-- name: settle_calendar
insert into ops.studio_settings (studio_zone, block_minutes) values (%(studio_zone)s, %(block_minutes)s)
on conflict do nothing;

-- name: settle_rollup
update ops.rollups set complete_from = %(complete_from)s, parts_from = %(parts_from)s::jsonb, created_at = %(created_at)s
where name = %(name)s;

-- name: set_sequence
select setval(%(sequence)s::regclass, %(value)s, %(is_called)s);

-- name: analyze
analyze;
