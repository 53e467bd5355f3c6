{#
  A rollup is two relations: the cells (NAME_cells) and the view that everyone reads (NAME), which takes the cells of
  untouched buckets and computes each touched bucket from its source. The view is exact at every moment, whatever the
  state of the cells: a new rollup begins with every bucket pending, and `framehouse maintain` works that off.

  Nothing here is ever dropped or refreshed, by no run, full refresh or retry: cells outlive the raw rows they came
  from. A changed definition is refused, unless it is to be renewed: then the new shape stands beside the old as
  NAME_v2 (or the next number that is free), and takes its place when its cells are computed (framehouse/warehouse/renew.py).
#}
{% materialization continuous_aggregate, adapter='postgres' %}
    {%- set name = model.name -%}
    {%- set view = this.incorporate(type='view') -%}
    {%- set definition = framehouse_definition(sql) -%}
    {%- set hash = local_md5(definition) -%}
    {%- set finer = framehouse_finer() -%}

    {# One builder or maintainer at a time: opens the transaction and holds the lock until its end. #}
    {% call statement('lock', auto_begin=True) %}
        select pg_advisory_xact_lock(hashtext('framehouse.maintain'))
    {% endcall %}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% set built = run_query("select definition_hash, studio_zone, version from ops.rollups where name = "
        ~ dbt.string_literal(name)).rows %}
    {% set beside = run_query("select name, definition_hash from ops.rollups where renews = "
        ~ dbt.string_literal(name)).rows %}
    {% set finer_beside = run_query("select name from ops.rollups where renews = "
        ~ dbt.string_literal(finer or '')).rows %}

    {% if built | length == 0 %}
        {% if framehouse_has_relation(name ~ '_cells') %}
            {{ exceptions.raise_compiler_error(
                "rollup." ~ name ~ "_cells is there already, and may hold another rollup's history; give the model "
                ~ name ~ " another name") }}
        {% endif %}
        {% do framehouse_create_rollup(name, none, 1, definition, hash, finer, finer) %}
        {% set done = 'CREATE ROLLUP' %}
    {% elif built[0][1] != var('studio_zone') %}
        {{ exceptions.raise_compiler_error(
            "rollup " ~ name ~ " follows the zone " ~ built[0][1] ~ ", which is fixed at the first build; "
            ~ "set FRAMEHOUSE_STUDIO_ZONE=" ~ built[0][1]) }}
    {% elif beside | length == 1
            and (beside[0][1] != hash or (built[0][0] == hash and finer_beside | length == 0)) %}
        {# Nobody wants it any more: the model was changed again, or changed back. #}
        {{ exceptions.raise_compiler_error(
            "rollup " ~ beside[0][0] ~ " stands beside " ~ name ~ " and was built from yet another definition; "
            ~ "`framehouse build --abandon` removes it") }}
    {% elif built[0][0] == hash and finer_beside | length == 0 %}
        {% set done = 'KEEP ROLLUP' %}
    {% elif not var('renew') %}
        {{ exceptions.raise_compiler_error(
            "rollup " ~ name ~ " was built from another definition, and its history may be all that is left of raw "
            ~ "data that was dropped; `framehouse build --renew` builds the new shape beside it, keeps the history and "
            ~ "then puts it in its place. See docs/operations.md, 'Changing a rollup'") }}
    {% elif beside | length == 1 %}
        {% set done = 'KEEP ROLLUP BESIDE' %}
    {% else %}
        {%- set version = framehouse_free_version(name, built[0][2] + 1) -%}
        {% do framehouse_create_rollup(name ~ '_v' ~ version, name, version, definition, hash, finer,
            finer_beside[0][0] if finer_beside | length == 1 else finer) %}
        {% set done = 'CREATE ROLLUP BESIDE' %}
    {% endif %}

    {% call noop_statement('main', done) %}{% endcall %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ return({'relations': [view]}) }}
{% endmaterialization %}

{# Whether somebody has this name in the schema of rollups. #}
{% macro framehouse_has_relation(name) -%}
    {{ return(run_query("select to_regclass(" ~ dbt.string_literal('"rollup"."' ~ name ~ '"')
        ~ ") is not null").rows[0][0]) }}
{%- endmacro %}

{# The first version, from this one on, for which nobody has NAME_vVERSION: no relation, and no model yet to be built. #}
{% macro framehouse_free_version(name, least) -%}
    {%- set models = graph.nodes.values() | map(attribute='name') | list -%}
    {%- for version in range(least, least + 1000) -%}
        {%- set beside = name ~ '_v' ~ version -%}
        {%- if beside not in models and not framehouse_has_relation(beside)
                and not framehouse_has_relation(beside ~ '_cells') -%}
            {{ return(version) }}
        {%- endif -%}
    {%- endfor -%}
{%- endmacro %}

{# The model's select without what differs between runs: trailing space and the name of the database. #}
{% macro framehouse_definition(sql) -%}
    {{ return(sql | replace('"' ~ target.database ~ '".', '') | trim) }}
{%- endmacro %}

{# The rollup that this model is computed from; none for raw rows. #}
{% macro framehouse_finer() -%}
    {%- for node_id in model.depends_on.nodes if node_id.startswith('model.') -%}
        {{ return(node_id.split('.')[-1]) }}
    {%- endfor -%}
    {{ return(none) }}
{%- endmacro %}

{#
  Cells, view and entry in the catalogue of a rollup. `renews` is the rollup whose place it will take, and
  `finer_source` the one it is computed from until then, where that is a new shape itself.
#}
{% macro framehouse_create_rollup(name, renews, version, definition, hash, finer, finer_source) %}
    {%- set source = config.require('source') -%}
    {%- set grain = config.require('grain') -%}
    {%- set cells = '"rollup"."' ~ name ~ '_cells"' -%}
    {%- set own = framehouse_renamed(definition, finer, '"rollup"."' ~ finer_source ~ '"') -%}
    {%- set is_community = run_query("select current_setting('timescaledb.license') = 'timescale'").rows[0][0] -%}

    {% if is_community %}
        {# Computed from the finer rollup's cells: an aggregate cannot read a view. #}
        {%- set finer_cells = run_query("select cells from ops.rollups where name = "
            ~ dbt.string_literal(finer_source or '')).rows -%}
        {% do run_query("create materialized view " ~ cells
            ~ " with (timescaledb.continuous, timescaledb.materialized_only = true, "
            ~ "timescaledb.create_group_indexes = true) as "
            ~ framehouse_renamed(definition, finer, finer_cells[0][0] if finer else '') ~ "\nwith no data") %}
    {% else %}
        {% do run_query("create table " ~ cells ~ " as " ~ own ~ "\nlimit 0") %}
    {% endif %}
    {%- set columns = framehouse_columns(cells) -%}
    {%- set keys = framehouse_keys(columns, definition) -%}
    {%- set recompute = none -%}
    {% if not is_community %}
        {% do run_query("alter table " ~ cells ~ " alter column bucket set not null") %}
        {% do run_query("create unique index on " ~ cells ~ " (" ~ keys | join(', ') ~ ") nulls not distinct") %}
        {# What one workflow or worker did, as Community's create_group_indexes makes possible there. #}
        {% do run_query("create index on " ~ cells ~ " (" ~ keys[1:] | join(', ') ~ ", bucket)") %}
        {% set recompute = framehouse_recompute_sql(cells, own, grain, columns, keys) %}
    {% endif %}

    {%- set select = framehouse_view_sql(name, source, grain, cells, own, columns) -%}
    {% do run_query('create view "rollup"."' ~ name ~ '" as ' ~ select) %}
    {% do run_query(
        "insert into ops.rollups (name, source, grain, cells, definition, definition_hash, studio_zone, recompute,"
        ~ " complete_from, parts_from, parts, view_select, version, renews) values ("
        ~ dbt.string_literal(name) ~ ", " ~ dbt.string_literal(source) ~ ", " ~ dbt.string_literal(grain) ~ ", "
        ~ dbt.string_literal('rollup.' ~ name ~ '_cells') ~ ", "
        ~ framehouse_quoted(definition) ~ ", " ~ dbt.string_literal(hash) ~ ", "
        ~ dbt.string_literal(var('studio_zone')) ~ ", "
        ~ ('null' if recompute is none else framehouse_quoted(recompute)) ~ ", "
        ~ ("(select complete_from from ops.rollups where name = '" ~ finer_source ~ "')" if finer
           else "(select raw_from from ops.retention)") ~ ", "
        ~ "coalesce((select parts_from from ops.rollups where name = " ~ dbt.string_literal(finer_source or '')
        ~ "), '{}'), "
        ~ "array['" ~ columns[keys | length:] | join("', '") ~ "'], "
        ~ framehouse_quoted(select) ~ ", " ~ version ~ ", "
        ~ ('null' if renews is none else dbt.string_literal(renews)) ~ ")") %}
    {% if renews is not none %}
        {% do framehouse_keep_history(name, renews, definition, keys, columns, finer_source, is_community) %}
    {% endif %}
    {% do run_query(framehouse_pending_sql(name, source, grain, finer_source, renews is not none)) %}
{% endmacro %}

{#
  What the old cells alone still know: the buckets below the fence, of the parts that mean the same. A part that was
  added, or whose expression changed, is known from the fence on.
#}
{% macro framehouse_keep_history(name, renews, definition, keys, columns, finer_source, is_community) %}
    {%- set old = run_query("select cells, definition from ops.rollups where name = " ~ dbt.string_literal(renews)).rows[0] -%}
    {%- set raw_from = run_query("select raw_from::text from ops.retention where raw_from > '-infinity'").rows -%}
    {% if raw_from | length == 1 %}
        {%- set fence = raw_from[0][0] -%}
        {%- set old_columns = framehouse_columns(old[0]) -%}
        {% if framehouse_keys(old_columns, old[1]) != keys %}
            {{ exceptions.raise_compiler_error(
                "rollup " ~ renews ~ " has other dimensions than before, in which the history before " ~ fence
                ~ " cannot be kept; give the new shape a name of its own") }}
        {% endif %}
        {%- set same = [] -%}
        {%- set old_lines = framehouse_lines(old[1]) -%}
        {%- set new_lines = framehouse_lines(definition) -%}
        {% if old_lines.get('') != new_lines.get('') or old_lines.get('bucket') != new_lines.get('bucket') %}
            {{ exceptions.raise_compiler_error(
                "rollup " ~ renews ~ " has other rows or buckets than before, so its history before " ~ fence
                ~ " cannot be kept; give the new shape a name of its own") }}
        {% endif %}
        {%- for column in columns[keys | length:] if new_lines.get(column) and new_lines[column] == old_lines.get(column) -%}
            {%- do same.append(column) -%}
        {%- endfor -%}
        {%- set kept = (keys + same) | join(', ') -%}
        {% if is_community %}
            {%- set target = run_query("select format('%I.%I', materialization_hypertable_schema,"
                ~ " materialization_hypertable_name) from timescaledb_information.continuous_aggregates"
                ~ " where view_schema = 'rollup' and view_name = '" ~ name ~ "_cells'").rows[0][0] -%}
        {% else %}
            {%- set target = 'rollup.' ~ name ~ '_cells' -%}
        {% endif %}
        {% do run_query("insert into " ~ target ~ " (" ~ kept ~ ") select " ~ kept ~ " from " ~ old[0]
            ~ " where bucket < '" ~ fence ~ "'") %}
        {% do run_query("insert into ops.pending_buckets (rollup, bucket) select '" ~ name ~ "', bucket"
            ~ " from ops.pending_buckets where rollup = '" ~ renews ~ "' and bucket < '" ~ fence ~ "'") %}
        {# Known later: what is new here, what was so before, and what is so in the rollup it is computed from. #}
        {% do run_query("update ops.rollups as own set"
            ~ " complete_from = (select complete_from from ops.rollups where name = '" ~ renews ~ "'),"
            ~ " parts_from = (select coalesce(jsonb_object_agg(part, since), '{}') from ("
            ~ "select part, max(since) as since from ("
            ~ "select key as part, value::timestamptz as since from ops.rollups, jsonb_each_text(parts_from)"
            ~ " where name in ('" ~ renews ~ "', " ~ dbt.string_literal(finer_source or '') ~ ")"
            ~ " union all select part, '" ~ fence ~ "' from unnest(own.parts) as part"
            ~ " where not part = any('{" ~ same | join(',') ~ "}')) as known group by part) as latest)"
            ~ " where name = '" ~ name ~ "'") %}
    {% endif %}
{% endmacro %}

{#
  The expression of each column of a definition that has a line for each, as generated ones do; under '' all the rest:
  dimensions, relation, condition.
#}
{% macro framehouse_lines(definition) -%}
    {%- set found = {'': []} -%}
    {%- for line in definition.split('\n') -%}
        {%- set text = line.strip().rstrip(',') -%}
        {%- if ' as ' in text -%}
            {%- do found.update({text.rsplit(' as ', 1)[1]: text}) -%}
        {%- elif text and not text.startswith('--') -%}
            {%- do found[''].append(text) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}

{# Text as a literal, whatever quotes it holds. #}
{% macro framehouse_quoted(text) -%}
    $framehouse${{ text }}$framehouse$
{%- endmacro %}

{# A definition that reads another relation in place of the finer rollup. #}
{% macro framehouse_renamed(definition, finer, relation) -%}
    {{ return(definition | replace('"rollup"."' ~ finer ~ '"', relation) if finer else definition) }}
{%- endmacro %}

{% macro framehouse_columns(cells) -%}
    {%- set found = run_query(
        "select attname from pg_attribute where attrelid = '" ~ cells
        ~ "'::regclass and attnum > 0 and not attisdropped order by attnum") -%}
    {{ return(found.columns[0].values() | list) }}
{%- endmacro %}

{# The bucket and the dimensions: the columns that a definition groups by, which stand first. #}
{% macro framehouse_keys(columns, definition) -%}
    {{ return(columns[:definition.rsplit('group by', 1)[1].split(',') | length]) }}
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
    {{ return(out.text ~ '\n') }}
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
{% macro framehouse_view_sql(name, source, grain, cells, definition, columns) -%}
    {%- set touched = framehouse_touched_sql(name, source, grain) -%}
    select {{ columns | join(', ') }}
    from {{ cells }}
    where bucket not in ({{ touched }})
    union all
    select touched.bucket, computed.{{ columns[1:] | join(', computed.') }}
    from (with marks as materialized ({{ touched }}) select distinct bucket from marks) as touched
    cross join lateral ({{ framehouse_of_one_bucket(definition, grain) }}) as computed
{%- endmacro %}

{# Computes the cells of the buckets given as the one parameter, a timestamptz[]; in order, as readers want them. #}
{% macro framehouse_recompute_sql(cells, definition, grain, columns, keys) -%}
    insert into {{ cells }} ({{ columns | join(', ') }})
    select touched.bucket, computed.{{ columns[1:] | join(', computed.') }}
    from unnest(%s::timestamptz[]) as touched (bucket)
    cross join lateral ({{ framehouse_of_one_bucket(definition, grain) }}) as computed
    order by {{ range(1, keys | length + 1) | join(', ') }}
{%- endmacro %}

{#
  Every bucket that has data is pending at first. A rollup over a finer one reaches back as far as the finer one's
  cells do; one over raw only to the fence, as does one that takes another's place and its history.
#}
{% macro framehouse_pending_sql(name, source, grain, finer, has_history) -%}
    {%- set time = {'attempts': 'finished_at', 'heartbeats': 'covered_from'}[source] -%}
    {%- set raw = {'attempts': 'telemetry.performance_metrics', 'heartbeats': 'telemetry.worker_heartbeats'}[source] -%}
    {%- set time = 'bucket' if finer else time -%}
    {%- set bucket = {'fine': "time_bucket(interval '15 minutes', " ~ time ~ ")", 'block': studio_block(time),
                      'day': studio_day(time)}[grain] -%}
    insert into ops.pending_buckets (rollup, bucket)
    select distinct '{{ name }}', {{ bucket }} from {{ 'rollup.' ~ finer if finer else raw }}
    {%- if has_history or not finer %}
    where {{ time }} >= (select raw_from from ops.retention)
    {%- endif %}
{%- endmacro %}
