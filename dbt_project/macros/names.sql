{# A model's schema is the one it names: rollup or mart, whatever the profile says. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name | trim if custom_schema_name else target.schema }}
{%- endmacro %}

{# The studio day that an instant belongs to, as that day's first instant. #}
{% macro studio_day(instant) -%}
    time_bucket(interval '1 day', {{ instant }}, '{{ var("studio_zone") }}')
{%- endmacro %}

{# The block of a studio day that an instant belongs to, as the block's first instant. #}
{% macro studio_block(instant) -%}
    time_bucket(interval '{{ var("block_minutes") }} minutes', {{ instant }})
{%- endmacro %}

{# Stands where the materialization puts "within this one bucket"; as it is, it lets every row through. #}
{% macro in_bucket(time) -%}
    {{ time }} is not null /* in bucket */
{%- endmacro %}
