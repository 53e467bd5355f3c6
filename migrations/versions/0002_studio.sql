-- Reference tables. Their rows are never deleted: rollups keep their ids for ever, longer than raw data is kept.

create function studio.touch_updated_at() returns trigger
language plpgsql set search_path = pg_catalog as $$
begin
    new.updated_at := now();
    return new;
end
$$;

create function studio.refuse_delete() returns trigger
language plpgsql set search_path = pg_catalog as $$
begin
    raise exception '%.% keeps its rows: history refers to them', tg_table_schema, tg_table_name
        using errcode = 'restrict_violation', hint = 'set archived_at to hide the row';
end
$$;

create table studio.projects (
    id integer generated always as identity primary key,
    name text not null unique check (name <> ''),
    archived_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table studio.characters (
    id integer generated always as identity primary key,
    name text not null unique check (name <> ''),
    archived_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table studio.scene_types (
    id integer generated always as identity primary key,
    name text not null unique check (name <> ''),
    archived_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table studio.scenes (
    id integer generated always as identity primary key,
    name text not null unique check (name <> ''),
    archived_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table studio.workflows (
    id integer generated always as identity primary key,
    name text not null unique check (name <> ''),
    archived_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table studio.workers (
    id integer generated always as identity primary key,
    name text not null unique check (name <> ''),
    archived_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table studio.resolution_tiers (
    id integer generated always as identity primary key,
    name text not null unique check (name <> ''),
    width integer not null check (width > 0),
    height integer not null check (height > 0),
    quality_settings jsonb not null default '{}' check (jsonb_typeof(quality_settings) = 'object'),
    speed_factor double precision not null check (speed_factor > 0 and speed_factor < 'Infinity'),
    is_default boolean not null default false,
    sort_order integer not null default 0,
    archived_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create unique index resolution_tiers_one_default on studio.resolution_tiers (is_default) where is_default;
comment on column studio.resolution_tiers.speed_factor is 'How many times faster than production this tier is.';

insert into studio.resolution_tiers (name, width, height, speed_factor, is_default, sort_order) values
    ('draft', 512, 512, 5.0, true, 10),
    ('preview', 768, 768, 2.5, false, 20),
    ('production', 1920, 1080, 1.0, false, 30);

-- The scheduler's last snapshot: one row, replaced as a whole.
create table studio.queue (
    is_present boolean primary key default true check (is_present),
    waiting jsonb not null check (jsonb_typeof(waiting) = 'array'),
    running jsonb not null check (jsonb_typeof(running) = 'array'),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

do $$
declare
    name text;
begin
    foreach name in array array['projects', 'characters', 'scene_types', 'scenes', 'workflows', 'workers',
                                'resolution_tiers', 'queue'] loop
        execute format('create trigger touch_updated_at before update on studio.%I
                        for each row execute function studio.touch_updated_at()', name);
        if name <> 'queue' then
            execute format('create trigger refuse_delete before delete on studio.%I
                            for each row execute function studio.refuse_delete()', name);
            execute format('create trigger refuse_truncate before truncate on studio.%I
                            for each statement execute function studio.refuse_delete()', name);
        end if;
    end loop;
end
$$;

grant insert on studio.projects, studio.characters, studio.scene_types, studio.scenes, studio.workflows,
    studio.workers to framehouse_ingest, framehouse_api;
grant insert, update on studio.queue to framehouse_ingest, framehouse_api;
grant insert, update on studio.resolution_tiers to framehouse_api;
