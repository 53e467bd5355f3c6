-- Schemas and the four roles. Roles belong to the whole server, so another database may have made them already.

create extension if not exists timescaledb;

do $$
declare
    name text;
begin
    foreach name in array array['framehouse_owner', 'framehouse_ingest', 'framehouse_api', 'framehouse_analyst'] loop
        if not exists (select from pg_roles where rolname = name) then
            begin
                execute format('create role %I nologin', name);
            exception
                when duplicate_object or unique_violation then null;  -- another database's migration was quicker
            end;
        end if;
    end loop;
    -- A hosted server's administrator is no superuser and needs the membership to hand objects over.
    if not pg_has_role(current_user, 'framehouse_owner', 'set') then
        execute format('grant framehouse_owner to %I', current_user);
    end if;
    execute format('grant create, temporary, connect on database %I to framehouse_owner', current_database());
    -- An analyst can read everything and hold nothing up.
    execute format('revoke temporary on database %I from public', current_database());
    execute format('grant connect, temporary on database %I to framehouse_ingest, framehouse_api', current_database());
    execute format('grant connect on database %I to framehouse_analyst', current_database());
end
$$;

create schema studio authorization framehouse_owner;
create schema telemetry authorization framehouse_owner;
create schema ops authorization framehouse_owner;
create schema rollup authorization framehouse_owner;
create schema mart authorization framehouse_owner;

comment on schema studio is 'Reference data and the state of production.';
comment on schema telemetry is 'Raw facts: one row per job attempt and per covered span of a worker.';
comment on schema ops is 'What the warehouse needs to run: ledger, marks, quarantine, stored estimates.';
comment on schema rollup is 'Additive parts by bucket, built by dbt.';
comment on schema mart is 'Views for people, built by dbt.';

grant usage on schema studio, telemetry, rollup, mart to framehouse_ingest, framehouse_api, framehouse_analyst;
grant usage on schema ops to framehouse_ingest, framehouse_api;

alter default privileges for role framehouse_owner in schema studio, telemetry, rollup, mart
    grant select on tables to framehouse_ingest, framehouse_api, framehouse_analyst;
alter default privileges for role framehouse_owner in schema ops
    grant select on tables to framehouse_ingest, framehouse_api;

-- What a read-only session could otherwise still do to others: take advisory locks, write large objects, add jobs.
do $$
declare
    routine regprocedure;
begin
    if (select rolsuper from pg_roles where rolname = current_user) then
        for routine in
            select p.oid::regprocedure
            from pg_proc p
            where (p.pronamespace = 'pg_catalog'::regnamespace
                   and (p.proname like 'pg\_advisory%' or p.proname like 'pg\_try\_advisory%' or p.proname like 'lo\_%'
                        or p.proname in ('lowrite', 'loread')))
               or (p.proname = 'add_job' and p.pronamespace = 'public'::regnamespace)
        loop
            execute format('revoke execute on function %s from public', routine);
            execute format('grant execute on function %s to framehouse_owner, framehouse_ingest, framehouse_api', routine);
        end loop;
    else
        raise notice 'not a superuser: advisory locks and large objects stay open to everyone who may connect';
    end if;
end
$$;
