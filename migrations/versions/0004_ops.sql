-- What makes ingest exactly-once, rollups exact at every moment, and refused bodies recoverable.

create table ops.attempt_ledger (
    job_id text not null,
    attempt smallint not null,
    body_hash bytea not null check (length(body_hash) = 32),
    finished_at timestamptz not null,
    primary key (job_id, attempt)
);
comment on table ops.attempt_ledger is 'Every attempt ever stored; only attempts new to it are inserted.';

-- The fence. Raw data before raw_from is gone or about to go: nothing is written, marked or recomputed there.
create table ops.retention (
    is_present boolean primary key default true check (is_present),
    raw_from timestamptz not null default '-infinity',
    raw_keep interval check (raw_keep >= interval '90 days'),
    updated_at timestamptz not null default now()
);
insert into ops.retention default values;
create trigger touch_updated_at before update on ops.retention
    for each row execute function studio.touch_updated_at();

-- Marks: buckets whose cells may be out of date. Append-only and without a unique key: `on conflict do nothing` would
-- lose a mark that is about to be deleted and would make writers wait for each other.
create table ops.touched_buckets (
    id bigint generated always as identity primary key,
    source text not null,
    bucket timestamptz not null
);
comment on table ops.touched_buckets is 'Fine buckets that rows were written to since their cells were computed.';

create table ops.touched_days (
    id bigint generated always as identity primary key,
    source text not null,
    bucket timestamptz not null
);
comment on table ops.touched_days is 'Studio days whose fine cells were recomputed but whose daily cells were not yet.';

create table ops.rollups (
    name text primary key,
    source text not null,
    grain text not null check (grain in ('fine', 'block', 'day')),
    cells text not null,
    definition text not null,
    definition_hash text not null,
    studio_zone text not null,
    recompute text,
    complete_from timestamptz not null default '-infinity',
    parts text[] not null,
    parts_from jsonb not null default '{}' check (jsonb_typeof(parts_from) = 'object'),
    view_select text not null,
    version integer not null default 1,
    renews text references ops.rollups (name),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create trigger touch_updated_at before update on ops.rollups
    for each row execute function studio.touch_updated_at();
comment on column ops.rollups.complete_from is 'Raw data before it was gone when the rollup was first built.';
comment on column ops.rollups.parts_from is 'Parts that were added or changed later, and from when on they are known.';
comment on column ops.rollups.view_select is 'The select of the view that everyone reads.';
comment on column ops.rollups.renews is 'The rollup whose place it takes once its cells are computed.';
comment on table ops.rollups is 'Every rollup that was built: its cells, and the definition they were computed by.';

create function ops.known_from(rollup text, wanted text[]) returns timestamptz
language sql stable set search_path = pg_catalog
begin atomic
    select greatest(complete_from, (
        select max(since.value::timestamptz) from jsonb_each_text(parts_from) as since where since.key = any(wanted)))
    from ops.rollups where name = rollup;
end;
comment on function ops.known_from is 'From when on a rollup knows all of some parts.';

create table ops.pending_buckets (
    rollup text not null references ops.rollups (name) on delete cascade on update cascade,
    bucket timestamptz not null,
    primary key (rollup, bucket)
);
comment on table ops.pending_buckets is 'Buckets of a new rollup that its backfill has not reached; read from raw until then.';

create table ops.retired_rollups (
    cells text primary key,
    name text not null,
    definition text not null,
    retired_at timestamptz not null default now()
);
comment on table ops.retired_rollups is 'Cells whose place newer ones have taken; kept, and maintained by nobody.';

create table ops.studio_settings (
    is_present boolean primary key default true check (is_present),
    studio_zone text not null,
    block_minutes integer not null check (block_minutes in (15, 30, 60)),
    created_at timestamptz not null default now()
);
comment on table ops.studio_settings is 'Fixed at the first build: daily cells follow this zone.';
comment on column ops.studio_settings.block_minutes is
    'Length of the blocks that all days of this zone are made of, aligned to the UTC hour.';

create table ops.builds (
    id bigint generated always as identity primary key,
    fingerprint text not null,
    built_at timestamptz not null default now()
);
comment on table ops.builds is 'Every build of rollups and marts, and of which dbt project it was.';

create function ops.mark_attempts_inserted() returns trigger
language plpgsql set search_path = pg_catalog as $$
begin
    insert into ops.touched_buckets (source, bucket)
    select distinct 'attempts', date_bin('15 minutes', finished_at, '2000-01-01 00:00:00+00')
    from arrived
    where finished_at >= (select raw_from from ops.retention);
    return null;
end
$$;

create function ops.mark_attempt_deleted() returns trigger
language plpgsql set search_path = pg_catalog as $$
begin
    insert into ops.touched_buckets (source, bucket)
    select 'attempts', date_bin('15 minutes', old.finished_at, '2000-01-01 00:00:00+00')
    where old.finished_at >= (select raw_from from ops.retention);
    return null;
end
$$;

create function ops.mark_heartbeats_inserted() returns trigger
language plpgsql set search_path = pg_catalog as $$
begin
    insert into ops.touched_buckets (source, bucket)
    select distinct 'heartbeats', date_bin('15 minutes', covered_from, '2000-01-01 00:00:00+00')
    from arrived
    where covered_from >= (select raw_from from ops.retention);
    return null;
end
$$;

create function ops.mark_heartbeat_deleted() returns trigger
language plpgsql set search_path = pg_catalog as $$
begin
    insert into ops.touched_buckets (source, bucket)
    select 'heartbeats', date_bin('15 minutes', old.covered_from, '2000-01-01 00:00:00+00')
    where old.covered_from >= (select raw_from from ops.retention);
    return null;
end
$$;

create function telemetry.refuse_change() returns trigger
language plpgsql set search_path = pg_catalog as $$
begin
    raise exception 'facts are immutable: % on %.% is refused', tg_op, tg_table_schema, tg_table_name
        using errcode = 'restrict_violation', hint = 'delete the rows and send them anew';
end
$$;

create trigger mark_inserted after insert on telemetry.performance_metrics
    referencing new table as arrived for each statement execute function ops.mark_attempts_inserted();
create trigger mark_deleted after delete on telemetry.performance_metrics
    for each row execute function ops.mark_attempt_deleted();
create trigger refuse_update before update on telemetry.performance_metrics
    for each row execute function telemetry.refuse_change();
create trigger refuse_truncate before truncate on telemetry.performance_metrics
    for each statement execute function telemetry.refuse_change();

create trigger mark_inserted after insert on telemetry.worker_heartbeats
    referencing new table as arrived for each statement execute function ops.mark_heartbeats_inserted();
create trigger mark_deleted after delete on telemetry.worker_heartbeats
    for each row execute function ops.mark_heartbeat_deleted();
create trigger refuse_update before update on telemetry.worker_heartbeats
    for each row execute function telemetry.refuse_change();
create trigger refuse_truncate before truncate on telemetry.worker_heartbeats
    for each statement execute function telemetry.refuse_change();

create table ops.quarantine (
    id bigint generated always as identity primary key,
    received_at timestamptz not null default now(),
    origin text not null,
    code text not null,
    body bytea not null,
    problems jsonb not null check (jsonb_typeof(problems) = 'array'),
    replayed_at timestamptz,
    replay_status text
);
create index quarantine_open on ops.quarantine (id) where replayed_at is null;
comment on table ops.quarantine is 'Bodies that were refused, byte for byte, with the reason; replayed after mending.';

grant insert on ops.attempt_ledger, ops.touched_buckets to framehouse_ingest, framehouse_api;
grant insert, update on ops.quarantine to framehouse_ingest, framehouse_api;
-- What metrics.read asks besides the rollups: which there are, whose days they follow, where the fence is, which cells
-- are current.
grant usage on schema ops to framehouse_analyst;
grant execute on function ops.known_from to framehouse_ingest, framehouse_api, framehouse_analyst;
grant select on ops.studio_settings, ops.retention, ops.rollups, ops.touched_buckets, ops.touched_days,
    ops.pending_buckets to framehouse_analyst;
