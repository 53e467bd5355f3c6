-- Predicted beside actual for every stored scene estimate of which jobs have succeeded: all of it where it is done.
select
    estimates.id as estimate_id,
    scenes.scene_key,
    scenes.workflow,
    scenes.tier,
    scenes.segments_needed,
    scenes.sample_count,
    estimates.created_at,
    outcomes.finished_at,
    outcomes.attempt_count,
    scenes.gpu_seconds_mean,
    scenes.gpu_seconds_p10,
    scenes.gpu_seconds_p50,
    scenes.gpu_seconds_p90,
    outcomes.gpu_seconds as gpu_seconds_actual,
    scenes.wall_seconds_mean,
    scenes.wall_seconds_p10,
    scenes.wall_seconds_p50,
    scenes.wall_seconds_p90,
    outcomes.wall_seconds as wall_seconds_actual,
    scenes.disk_mb_mean,
    scenes.disk_mb_p10,
    scenes.disk_mb_p50,
    scenes.disk_mb_p90,
    outcomes.output_mb as disk_mb_actual,
    scenes.energy_joules_mean,
    scenes.energy_joules_p10,
    scenes.energy_joules_p50,
    scenes.energy_joules_p90,
    outcomes.energy_joules as energy_joules_actual,
    scenes.vram_peak_mb_mean,
    scenes.vram_peak_mb_p10,
    scenes.vram_peak_mb_p50,
    scenes.vram_peak_mb_p90,
    outcomes.vram_peak_mb as vram_peak_mb_actual,
    scenes.rss_peak_mb_mean,
    scenes.rss_peak_mb_p10,
    scenes.rss_peak_mb_p50,
    scenes.rss_peak_mb_p90,
    outcomes.rss_peak_mb as rss_peak_mb_actual,
    -- Never below 0. Of what is equal to 0 the planner expects next to nothing, and would look up each scene by itself.
    progress.left_ratio <= 0 as is_done
from {{ source('ops', 'estimate_outcomes') }} as outcomes
join {{ source('ops', 'estimates') }} as estimates on estimates.id = outcomes.estimate_id
join {{ source('ops', 'estimate_scenes') }} as scenes
    on scenes.estimate_id = outcomes.estimate_id and scenes.scene_key = outcomes.scene_key
join {{ source('ops', 'estimate_progress') }} as progress
    on progress.estimate_id = outcomes.estimate_id and progress.scene_key = outcomes.scene_key
