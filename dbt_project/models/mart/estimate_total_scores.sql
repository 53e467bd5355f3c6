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
    done.scene_count,
    (estimates.answer #>> '{totals,gpu_hours,mean}')::double precision as gpu_hours_mean,
    (estimates.answer #>> '{totals,gpu_hours,p10}')::double precision as gpu_hours_p10,
    (estimates.answer #>> '{totals,gpu_hours,p50}')::double precision as gpu_hours_p50,
    (estimates.answer #>> '{totals,gpu_hours,p90}')::double precision as gpu_hours_p90,
    done.gpu_hours as gpu_hours_actual,
    (estimates.answer #>> '{totals,wall_hours,mean}')::double precision as wall_hours_mean,
    (estimates.answer #>> '{totals,wall_hours,p10}')::double precision as wall_hours_p10,
    (estimates.answer #>> '{totals,wall_hours,p50}')::double precision as wall_hours_p50,
    (estimates.answer #>> '{totals,wall_hours,p90}')::double precision as wall_hours_p90,
    done.wall_hours as wall_hours_actual,
    (estimates.answer #>> '{totals,disk_gb,mean}')::double precision as disk_gb_mean,
    (estimates.answer #>> '{totals,disk_gb,p10}')::double precision as disk_gb_p10,
    (estimates.answer #>> '{totals,disk_gb,p50}')::double precision as disk_gb_p50,
    (estimates.answer #>> '{totals,disk_gb,p90}')::double precision as disk_gb_p90,
    done.disk_gb as disk_gb_actual,
    (estimates.answer #>> '{totals,energy_kwh,mean}')::double precision as energy_kwh_mean,
    (estimates.answer #>> '{totals,energy_kwh,p10}')::double precision as energy_kwh_p10,
    (estimates.answer #>> '{totals,energy_kwh,p50}')::double precision as energy_kwh_p50,
    (estimates.answer #>> '{totals,energy_kwh,p90}')::double precision as energy_kwh_p90,
    done.energy_kwh as energy_kwh_actual
from done
join {{ source('ops', 'estimates') }} as estimates
    on estimates.id = done.estimate_id and estimates.estimated_scenes = done.scene_count
