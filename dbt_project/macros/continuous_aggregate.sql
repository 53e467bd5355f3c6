{#
  A rollup is two relations: the cells (NAME_cells) and the view that everyone reads (NAME), which takes the cells of
  untouched buckets and computes each touched bucket from its source. The view is exact at every moment, whatever the
  state of the cells: a new rollup begins with every bucket pending, and `framehouse maintain` works that off.

  Nothing here is ever dropped or refreshed, by no run, full refresh or retry: cells outlive the raw rows they came
  from. A changed definition is refused.
#}
{% materialization continuous_aggregate, adapter='postgres' %}
    {%- set source = config.require('source') -%}
    {%- set grain = config.require('grain') -%}
    {%- set name = model.name -%}
    {%- set view = this.incorporate(type='view') -%}
    {%- set cells = api.Relation.create(
        database=this.database, schema=this.schema, identifier=name ~ '_cells', type='table') -%}
    {%- set definition = framehouse_definition(sql) -%}
    {%- set hash = local_md5(definition) -%}

    {# One builder or maintainer at a time: opens the transaction and holds the lock until its end. #}
    {% call statement('lock', auto_begin=True) %}
        select pg_advisory_xact_lock(hashtext('framehouse.maintain'))
    {% endcall %}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% set built = run_query(
        "select definition_hash, studio_zone from ops.rollups where name = " ~ dbt.string_literal(name)) %}

    {% if built.rows | length == 0 %}
        {% do framehouse_create_rollup(name, source, grain, view, cells, definition, hash) %}
        {% set done = 'CREATE ROLLUP' %}
    {% elif built.rows[0][1] != var('studio_zone') %}
        {{ exceptions.raise_compiler_error(
            "rollup " ~ name ~ " follows the zone " ~ built.rows[0][1] ~ ", which is fixed at the first build; "
            ~ "set FRAMEHOUSE_STUDIO_ZONE=" ~ built.rows[0][1]) }}
    {% elif built.rows[0][0] != hash %}
        {{ exceptions.raise_compiler_error(
            "rollup " ~ name ~ " was built from another definition, and its history may be all that is left of raw "
            ~ "data that was dropped; give the new shape a new name beside it (" ~ name ~ "_v2), or restore the "
            ~ "old definition. See docs/operations.md, 'Changing a rollup'") }}
    {% else %}
        {% set done = 'KEEP ROLLUP' %}
    {% endif %}

    {% call noop_statement('main', done) %}{% endcall %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ return({'relations': [view]}) }}
{% endmaterialization %}

{# The model's select without what differs between runs: trailing space and the name of the database. #}
{% macro framehouse_definition(sql) -%}
    {{ return(sql | replace('"' ~ target.database ~ '".', '') | trim) }}
{%- endmacro %}

{% macro framehouse_create_rollup(name, source, grain, view, cells, definition, hash) %}
    {%- set zone = var('studio_zone') -%}
    {%- set is_community = run_query("select current_setting('timescaledb.license') = 'timescale'").rows[0][0] -%}
    {%- set finer = [] -%}
    {%- for node_id in model.depends_on.nodes if node_id.startswith('model.') -%}
        {%- do finer.append(node_id.split('.')[-1]) -%}
    {%- endfor -%}
    {# Cells are computed from the finer rollup's cells on Community (an aggregate cannot read a view). #}
    {%- set from_cells = framehouse_reading_cells(definition, finer) -%}

    {% if is_community %}
        {% do run_query("create materialized view " ~ cells.include(database=false)
            ~ " with (timescaledb.continuous, timescaledb.materialized_only = true, "
            ~ "timescaledb.create_group_indexes = true) as " ~ from_cells ~ " with no data") %}
        {% set recompute = none %}
    {% else %}
        {% do run_query("create table " ~ cells.include(database=false) ~ " as " ~ definition ~ " limit 0") %}
    {% endif %}
    {%- set columns = framehouse_columns(cells) -%}
    {%- set keys = framehouse_keys(columns) -%}
    {% if not is_community %}
        {% do run_query("alter table " ~ cells.include(database=false) ~ " alter column bucket set not null") %}
        {% do run_query("create unique index on " ~ cells.include(database=false) ~ " ("
            ~ keys | join(', ') ~ ") nulls not distinct") %}
        {# What one workflow or worker did, as Community's create_group_indexes makes possible there. #}
        {% do run_query("create index on " ~ cells.include(database=false) ~ " ("
            ~ keys[1:] | join(', ') ~ ", bucket)") %}
        {% set recompute = framehouse_recompute_sql(cells, definition, grain, columns, keys) %}
    {% endif %}

    {% do run_query(framehouse_view_sql(name, source, grain, view, cells, definition, columns)) %}
    {% do run_query(
        "insert into ops.rollups (name, source, grain, cells, definition, definition_hash, studio_zone, recompute, complete_from) values ("
        ~ dbt.string_literal(name) ~ ", " ~ dbt.string_literal(source) ~ ", " ~ dbt.string_literal(grain) ~ ", "
        ~ dbt.string_literal(cells.schema ~ '.' ~ cells.identifier) ~ ", "
        ~ framehouse_quoted(definition) ~ ", " ~ dbt.string_literal(hash) ~ ", " ~ dbt.string_literal(zone) ~ ", "
        ~ ('null' if recompute is none else framehouse_quoted(recompute)) ~ ", "
        ~ ("(select complete_from from ops.rollups where name = '" ~ finer[0] ~ "')" if finer
           else "(select raw_from from ops.retention)") ~ ")") %}
    {% do run_query(framehouse_pending_sql(name, source, grain, finer)) %}
{% endmacro %}

{# Text as a literal, whatever quotes it holds. #}
{% macro framehouse_quoted(text) -%}
    $framehouse${{ text }}$framehouse$
{%- endmacro %}

{% macro framehouse_reading_cells(definition, finer) -%}
    {%- set out = namespace(text=definition) -%}
    {%- for name in finer -%}
        {%- set out.text = out.text | replace('"rollup"."' ~ name ~ '"', '"rollup"."' ~ name ~ '_cells"') -%}
    {%- endfor -%}
    {{ return(out.text) }}
{%- endmacro %}

{% macro framehouse_columns(cells) -%}
    {%- set found = run_query(
        "select attname from pg_attribute where attrelid = '" ~ cells.include(database=false)
        ~ "'::regclass and attnum > 0 and not attisdropped order by attnum") -%}
    {{ return(found.columns[0].values() | list) }}
{%- endmacro %}

{# Bucket and dimensions stand before the first part, and every rollup's first part is a count of rows. #}
{% macro framehouse_keys(columns) -%}
    {%- set keys = [] -%}
    {%- for column in columns if column == 'bucket' or column.endswith('_id') -%}
        {%- do keys.append(column) -%}
    {%- endfor -%}
    {{ return(keys) }}
{%- endmacro %}

{#
  "Within touched.bucket" for a time column. 36 hours after its first instant a day is over and the next one is not.
  Where clocks were once put back over midnight a day's label need not be its first instant, nor a day all in one piece,
  so there each row is asked for its day.
#}
{% macro framehouse_within(time, grain) -%}
    {%- if grain == 'fine' -%}
        {{ time }} >= touched.bucket and {{ time }} < touched.bucket + interval '15 minutes'
    {%- elif grain == 'block' -%}
        {{ time }} >= touched.bucket and {{ time }} < touched.bucket + interval '{{ var("block_minutes") }} minutes'
    {%- elif not var('repeats_midnight') -%}
        {{ time }} >= touched.bucket and {{ time }} < {{ studio_day("touched.bucket + interval '36 hours'") }}
    {%- else -%}
        {{ time }} >= touched.bucket - interval '2 hours' and {{ time }} < touched.bucket + interval '28 hours'
        and {{ studio_day(time) }} = touched.bucket
    {%- endif -%}
{%- endmacro %}

{# The definition restricted to one touched bucket. #}
{% macro framehouse_of_one_bucket(definition, grain) -%}
    {%- set out = namespace(text=definition) -%}
    {%- for time in ['finished_at', 'covered_from', 'bucket'] -%}
        {%- set out.text = out.text | replace(
            time ~ ' is not null /* in bucket */', framehouse_within(time, grain) | trim) -%}
    {%- endfor -%}
    {{ return(out.text) }}
{%- endmacro %}

{% macro framehouse_touched_sql(name, source, grain) -%}
    {%- set bucket = {'fine': 'bucket', 'block': studio_block('bucket'), 'day': studio_day('bucket')}[grain] -%}
    select {{ bucket }} as bucket from ops.touched_buckets
    where source = '{{ source }}' and bucket >= (select raw_from from ops.retention)
    {%- if grain == 'day' %}
        union all
        select bucket from ops.touched_days
        where source = '{{ source }}' and bucket >= (select raw_from from ops.retention)
    {%- endif %}
    union all
    select bucket from ops.pending_buckets where rollup = '{{ name }}'
{%- endmacro %}

{#
  Untouched cells, plus each touched bucket from its source. `not in` stays a hashed subplan under many marks. The marks
  are materialized, because for the few there are the planner would start parallel workers, which takes longer than all
  the rest.
#}
{% macro framehouse_view_sql(name, source, grain, view, cells, definition, columns) -%}
    {%- set touched = framehouse_touched_sql(name, source, grain) -%}
    create view {{ view.include(database=false) }} as
    select {{ columns | join(', ') }}
    from {{ cells.include(database=false) }}
    where bucket not in ({{ touched }})
    union all
    select touched.bucket, computed.{{ columns[1:] | join(', computed.') }}
    from (with marks as materialized ({{ touched }}) select distinct bucket from marks) as touched
    cross join lateral ({{ framehouse_of_one_bucket(definition, grain) }}) as computed
{%- endmacro %}

{# Computes the cells of the buckets given as the one parameter, a timestamptz[]; in order, as readers want them. #}
{% macro framehouse_recompute_sql(cells, definition, grain, columns, keys) -%}
    insert into {{ cells.include(database=false) }} ({{ columns | join(', ') }})
    select touched.bucket, computed.{{ columns[1:] | join(', computed.') }}
    from unnest(%s::timestamptz[]) as touched (bucket)
    cross join lateral ({{ framehouse_of_one_bucket(definition, grain) }}) as computed
    order by {{ range(1, keys | length + 1) | join(', ') }}
{%- endmacro %}

{#
  Every bucket that has data is pending at first. A rollup over a finer one reaches back as far as the finer one's
  cells do; one over raw only to the fence.
#}
{% macro framehouse_pending_sql(name, source, grain, finer) -%}
    {%- set time = {'attempts': 'finished_at', 'heartbeats': 'covered_from'}[source] -%}
    {%- set raw = {'attempts': 'telemetry.performance_metrics', 'heartbeats': 'telemetry.worker_heartbeats'}[source] -%}
    insert into ops.pending_buckets (rollup, bucket)
    {%- if finer %}
    select distinct '{{ name }}', {{ studio_day('bucket') if grain == 'day' else studio_block('bucket') }} from rollup.{{ finer[0] }}
    {%- else %}
    select distinct '{{ name }}', {{ studio_day(time) if grain == 'day' else "time_bucket(interval '15 minutes', " ~ time ~ ")" }}
    from {{ raw }} where {{ time }} >= (select raw_from from ops.retention)
    {%- endif %}
{%- endmacro %}
