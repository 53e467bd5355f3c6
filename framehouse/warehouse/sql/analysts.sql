-- name: enter
-- What an analyst's statement may do and how it reads times; until the transaction ends. The role is taken where the
-- login may take it (a superuser, whom this keeps from being one), so that nothing can be done but reading.
select set_config('statement_timeout', %(timeout_ms)s::text, true),
       set_config('timezone', 'UTC', true),
       set_config('datestyle', 'ISO', true),
       set_config('intervalstyle', 'postgres', true),
       set_config('standard_conforming_strings', 'on', true),
       set_config('search_path', 'telemetry, studio, mart, rollup, ops, public', true),
       case when pg_has_role(session_user, 'framehouse_analyst', 'set')
            then set_config('role', 'framehouse_analyst', true) end;

-- name: functions
-- Of some names: which are aggregates, and which are volatile functions.
select proname as name, bool_or(prokind = 'a') as is_aggregate, bool_or(prokind = 'f' and provolatile = 'v') as is_volatile
from pg_proc
where proname = any(%(names)s)
group by proname;

-- name: columns
-- The columns of some relations, by their plain names.
select n.nspname || '.' || c.relname as relation, a.attname as name, format_type(a.atttypid, null) as type,
       a.attnotnull as is_not_null
from pg_attribute a
join pg_class c on c.oid = a.attrelid
join pg_namespace n on n.oid = c.relnamespace
where c.relname = any(%(names)s) and n.nspname = any(string_to_array('telemetry,studio,mart,rollup,ops,public', ','))
    and a.attnum > 0 and not a.attisdropped;
