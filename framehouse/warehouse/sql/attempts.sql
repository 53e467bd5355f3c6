-- Reading attempts back: first which (keys, from narrow rows), then what they say.

-- name: keys_of_job
select finished_at, job_id, attempt
from telemetry.performance_metrics
where job_id = %(job_id)s
order by attempt;

-- name: keys_of_page
-- The cursor's time stands twice: alone it excludes chunks, in the row it decides between equal times.
select finished_at, job_id, attempt
from telemetry.performance_metrics
where finished_at >= coalesce(%(start)s::timestamptz, '-infinity')
  and finished_at < coalesce(%(end)s::timestamptz, 'infinity')
  and finished_at <= coalesce(%(after_at)s::timestamptz, 'infinity')
  and (%(after_at)s::timestamptz is null
       or (finished_at, job_id collate "C", attempt)
           < (%(after_at)s::timestamptz, %(after_job)s::text collate "C", %(after_attempt)s::smallint))
  and (%(workflow_id)s::integer is null or workflow_id = %(workflow_id)s::integer)
  and (%(worker_id)s::integer is null or worker_id = %(worker_id)s::integer)
  and (%(tier_id)s::integer is null or tier_id = %(tier_id)s::integer)
  and (%(outcome)s::text is null or outcome = %(outcome)s::text)
order by finished_at desc, job_id collate "C" desc, attempt desc
limit %(limit)s;

-- name: by_keys
-- In the order of the keys. A dot in a name means nesting.
select
    a.job_id, a.attempt, a.estimate_id, a.scene_key, workflows.name as workflow, tiers.name as tier,
    projects.name as project, characters.name as character, scenes.name as scene,
    scene_types.name as scene_type, a.variant, workers.name as worker, a.queued_at, a.eligible_at, a.started_at,
    a.finished_at, a.recorded_at, a.outcome, a.error_code, a.error_message, a.is_cold, a.cached_count,
    a.segment_count, a.frame_count, a.width, a.height, a.gpu_count, a.gpu_seconds, a.wall_seconds,
    a.time_per_frame_ms, a.vram_peak_mb, a.vram_method, a.energy_joules, a.output_mb, a.cpu_seconds,
    a.cpu_mean_pct, a.cpu_max_pct, a.rss_mean_mb, a.rss_peak_mb, a.read_mb, a.write_mb, a.commands,
    a.input_duration_seconds as "input.duration_seconds", a.input_video_codec as "input.video_codec",
    a.input_audio_codec as "input.audio_codec", a.input_width as "input.width",
    a.input_height as "input.height", a.input_bitrate_kbps as "input.bitrate_kbps", a.rtf,
    a.host_hostname as "host.hostname", a.host_instance_type as "host.instance_type",
    a.host_cpu_count as "host.cpu_count", a.host_memory_gb as "host.memory_gb",
    a.host_gpu_model as "host.gpu_model", a.host_driver as "host.driver",
    a.quality_scores_json as quality_scores, a.pipeline_stages_json as pipeline_stages,
    a.parameters_json as parameters
from unnest(%(finished)s::timestamptz[], %(job_ids)s::text[], %(attempts)s::smallint[]) with ordinality
    as key (finished_at, job_id, attempt, place)
cross join lateral (
    select m.*
    from telemetry.performance_metrics m
    where m.finished_at = key.finished_at and m.job_id = key.job_id and m.attempt = key.attempt
) a
left join studio.workflows workflows on workflows.id = a.workflow_id
left join studio.resolution_tiers tiers on tiers.id = a.tier_id
left join studio.projects projects on projects.id = a.project_id
left join studio.characters characters on characters.id = a.character_id
left join studio.scenes scenes on scenes.id = a.scene_id
left join studio.scene_types scene_types on scene_types.id = a.scene_type_id
left join studio.workers workers on workers.id = a.worker_id
order by key.place;

-- name: workflow_id
select id from studio.workflows where name = %(name)s;

-- name: worker_id
select id from studio.workers where name = %(name)s;

-- name: tier_id
select id from studio.resolution_tiers where name = %(name)s;
