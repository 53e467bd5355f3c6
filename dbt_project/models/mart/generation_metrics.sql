-- Averages per segment by workflow and tier over all of history: what an estimate of a new batch begins with.
-- A sample is a succeeded attempt; a mean is a sum over a sum.
with parts as (
    select
        workflow_id,
        tier_id,
        sum(succeeded_count) as sample_count,
        sum(gpu_seconds_by_segments_sum) as gpu_seconds,
        sum(gpu_seconds_by_segments_work_sum) as gpu_segments,
        sum(wall_seconds_by_segments_sum) as wall_seconds,
        sum(wall_seconds_by_segments_work_sum) as wall_segments,
        sum(output_mb_by_segments_sum) as output_mb,
        sum(output_mb_by_segments_work_sum) as output_segments,
        sum(wall_seconds_per_segment_count) as spread_count,
        sum(wall_seconds_per_segment_sum) as spread_sum,
        sum(wall_seconds_per_segment_sumsq) as spread_sumsq,
        max(newest_recorded_at) as last_updated_at
    from {{ ref('attempts_by_workflow_daily') }}
    group by workflow_id, tier_id
)

select
    workflows.name as workflow,
    tiers.name as tier,
    cast(parts.sample_count as bigint) as sample_count,
    parts.gpu_seconds / nullif(parts.gpu_segments, 0) as avg_gpu_secs_per_segment,
    parts.wall_seconds / nullif(parts.wall_segments, 0) as avg_wall_secs_per_segment,
    parts.output_mb / nullif(parts.output_segments, 0) as avg_disk_mb_per_segment,
    case
        when parts.spread_count > 1 then sqrt(greatest(0,
            (parts.spread_sumsq - parts.spread_sum * parts.spread_sum / parts.spread_count)
            / (parts.spread_count - 1)))
    end as sd_wall_secs_per_segment,
    parts.last_updated_at
from parts
join {{ source('studio', 'workflows') }} as workflows on workflows.id = parts.workflow_id
left join {{ source('studio', 'resolution_tiers') }} as tiers on tiers.id = parts.tier_id
where parts.sample_count > 0
