-- name: extension
create extension if not exists timescaledb;

-- name: update_extension
alter extension timescaledb update;

-- name: describe
select
    current_setting('server_version') as version,
    coalesce((select extversion from pg_extension where extname = 'timescaledb'), '') as timescaledb,
    coalesce(current_setting('timescaledb.license', true), '') as license,
    extract(epoch from pg_postmaster_start_time()) as started_at,
    pg_database_size(current_database()) as size_bytes;

-- name: set_password
do $$
begin
    execute format('alter role %I password %L', current_user, current_setting('framehouse.password'));
end
$$;
