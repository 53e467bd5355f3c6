-- Predicted beside actual for the totals of every stored estimate whose estimated scenes are all done.
with done as (
    select
        estimate_id,
        count(*) as scene_count,
        max(finished_at) as finished_at,
        -- A sum that lacks a part is unknown, not smaller.
        case when count(gpu_seconds_actual) = count(*) then sum(gpu_seconds_actual) / 3600 end as gpu_hours,
        sum(wall_seconds_actual) / 3600 as wall_hours,
        case when count(disk_mb_actual) = count(*) then sum(disk_mb_actual) / 1024 end as disk_gb,
        case when count(energy_joules_actual) = count(*) then sum(energy_joules_actual) / 3.6e6 end as energy_kwh
    from {{ ref('estimate_scores') }}
    where is_done and wall_seconds_mean is not null
    group by estimate_id
)
select
    estimates.id as estimate_id,
    estimates.project,
    estimates.created_at,
    done.finished_at,
    done.scene_count
    {%- for quantity in ('gpu_hours', 'wall_hours', 'disk_gb', 'energy_kwh') %}
    {%- for part in ('mean', 'p10', 'p50', 'p90') %},
    (estimates.answer #>> '{totals,{{ quantity }},{{ part }}}')::double precision as {{ quantity }}_{{ part }}
    {%- endfor %},
    done.{{ quantity }} as {{ quantity }}_actual
    {%- endfor %}
from done
join {{ source('ops', 'estimates') }} as estimates
    on estimates.id = done.estimate_id and estimates.estimated_scenes = done.scene_count
