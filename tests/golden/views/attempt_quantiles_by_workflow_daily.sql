SELECT attempt_quantiles_by_workflow_daily_cells.bucket,
    attempt_quantiles_by_workflow_daily_cells.workflow_id,
    attempt_quantiles_by_workflow_daily_cells.tier_id,
    attempt_quantiles_by_workflow_daily_cells.wall_seconds_histogram,
    attempt_quantiles_by_workflow_daily_cells.gpu_seconds_histogram,
    attempt_quantiles_by_workflow_daily_cells.output_mb_histogram,
    attempt_quantiles_by_workflow_daily_cells.energy_joules_histogram,
    attempt_quantiles_by_workflow_daily_cells.cpu_seconds_histogram,
    attempt_quantiles_by_workflow_daily_cells.time_per_frame_ms_histogram,
    attempt_quantiles_by_workflow_daily_cells.rtf_histogram,
    attempt_quantiles_by_workflow_daily_cells.vram_peak_mb_histogram,
    attempt_quantiles_by_workflow_daily_cells.rss_peak_mb_histogram,
    attempt_quantiles_by_workflow_daily_cells.rss_mean_mb_histogram,
    attempt_quantiles_by_workflow_daily_cells.cpu_mean_pct_histogram,
    attempt_quantiles_by_workflow_daily_cells.cpu_max_pct_histogram,
    attempt_quantiles_by_workflow_daily_cells.read_mb_histogram,
    attempt_quantiles_by_workflow_daily_cells.write_mb_histogram,
    attempt_quantiles_by_workflow_daily_cells.wall_seconds_per_segment_histogram,
    attempt_quantiles_by_workflow_daily_cells.gpu_seconds_per_segment_histogram,
    attempt_quantiles_by_workflow_daily_cells.output_mb_per_segment_histogram,
    attempt_quantiles_by_workflow_daily_cells.queue_wait_seconds_histogram,
    attempt_quantiles_by_workflow_daily_cells.dependency_wait_seconds_histogram
   FROM rollup.attempt_quantiles_by_workflow_daily_cells
  WHERE NOT (attempt_quantiles_by_workflow_daily_cells.bucket IN ( SELECT time_bucket('1 day'::interval, touched_buckets.bucket, 'UTC'::text) AS bucket
           FROM ops.touched_buckets
          WHERE touched_buckets.source = 'attempts'::text AND touched_buckets.bucket >= (( SELECT retention.raw_from
                   FROM ops.retention))
        UNION ALL
         SELECT touched_days.bucket
           FROM ops.touched_days
          WHERE touched_days.source = 'attempts'::text AND touched_days.bucket >= (( SELECT retention.raw_from
                   FROM ops.retention))
        UNION ALL
         SELECT pending_buckets.bucket
           FROM ops.pending_buckets
          WHERE pending_buckets.rollup = 'attempt_quantiles_by_workflow_daily'::text))
UNION ALL
 SELECT touched.bucket,
    computed.workflow_id,
    computed.tier_id,
    computed.wall_seconds_histogram,
    computed.gpu_seconds_histogram,
    computed.output_mb_histogram,
    computed.energy_joules_histogram,
    computed.cpu_seconds_histogram,
    computed.time_per_frame_ms_histogram,
    computed.rtf_histogram,
    computed.vram_peak_mb_histogram,
    computed.rss_peak_mb_histogram,
    computed.rss_mean_mb_histogram,
    computed.cpu_mean_pct_histogram,
    computed.cpu_max_pct_histogram,
    computed.read_mb_histogram,
    computed.write_mb_histogram,
    computed.wall_seconds_per_segment_histogram,
    computed.gpu_seconds_per_segment_histogram,
    computed.output_mb_per_segment_histogram,
    computed.queue_wait_seconds_histogram,
    computed.dependency_wait_seconds_histogram
   FROM ( WITH marks AS MATERIALIZED (
                 SELECT time_bucket('1 day'::interval, touched_buckets.bucket, 'UTC'::text) AS bucket
                   FROM ops.touched_buckets
                  WHERE touched_buckets.source = 'attempts'::text AND touched_buckets.bucket >= (( SELECT retention.raw_from
                           FROM ops.retention))
                UNION ALL
                 SELECT touched_days.bucket
                   FROM ops.touched_days
                  WHERE touched_days.source = 'attempts'::text AND touched_days.bucket >= (( SELECT retention.raw_from
                           FROM ops.retention))
                UNION ALL
                 SELECT pending_buckets.bucket
                   FROM ops.pending_buckets
                  WHERE pending_buckets.rollup = 'attempt_quantiles_by_workflow_daily'::text
                )
         SELECT DISTINCT marks.bucket
           FROM marks) touched
     CROSS JOIN LATERAL ( SELECT time_bucket('1 day'::interval, performance_metrics.finished_at, 'UTC'::text) AS bucket,
            performance_metrics.workflow_id,
            performance_metrics.tier_id,
            histogram(ln(performance_metrics.wall_seconds), '-6.907755'::numeric::double precision, 13.572245::double precision, 1024) FILTER (WHERE performance_metrics.outcome = 'succeeded'::text AND performance_metrics.wall_seconds > 0::double precision AND performance_metrics.wall_seconds < 'Infinity'::double precision) AS wall_seconds_histogram,
            histogram(ln(performance_metrics.gpu_seconds), '-6.907755'::numeric::double precision, 13.572245::double precision, 1024) FILTER (WHERE performance_metrics.outcome = 'succeeded'::text AND performance_metrics.gpu_seconds > 0::double precision AND performance_metrics.gpu_seconds < 'Infinity'::double precision) AS gpu_seconds_histogram,
            histogram(ln(performance_metrics.output_mb), '-9.21034'::numeric::double precision, 14.78966::double precision, 1200) FILTER (WHERE performance_metrics.outcome = 'succeeded'::text AND performance_metrics.output_mb > 0::double precision AND performance_metrics.output_mb < 'Infinity'::double precision) AS output_mb_histogram,
            histogram(ln(performance_metrics.energy_joules), '-6.907755'::numeric::double precision, 19.092245::double precision, 1300) FILTER (WHERE performance_metrics.outcome = 'succeeded'::text AND performance_metrics.energy_joules > 0::double precision AND performance_metrics.energy_joules < 'Infinity'::double precision) AS energy_joules_histogram,
            histogram(ln(performance_metrics.cpu_seconds), '-6.907755'::numeric::double precision, 13.572245::double precision, 1024) FILTER (WHERE performance_metrics.outcome = 'succeeded'::text AND performance_metrics.cpu_seconds > 0::double precision AND performance_metrics.cpu_seconds < 'Infinity'::double precision) AS cpu_seconds_histogram,
            histogram(ln(performance_metrics.time_per_frame_ms), '-6.907755'::numeric::double precision, 13.572245::double precision, 1024) FILTER (WHERE performance_metrics.outcome = 'succeeded'::text AND performance_metrics.time_per_frame_ms > 0::double precision AND performance_metrics.time_per_frame_ms < 'Infinity'::double precision) AS time_per_frame_ms_histogram,
            histogram(ln(performance_metrics.rtf), '-6.907755'::numeric::double precision, 9.092245::double precision, 800) FILTER (WHERE performance_metrics.outcome = 'succeeded'::text AND performance_metrics.rtf > 0::double precision AND performance_metrics.rtf < 'Infinity'::double precision) AS rtf_histogram,
            histogram(ln(performance_metrics.vram_peak_mb), '-9.21034'::numeric::double precision, 14.78966::double precision, 1200) FILTER (WHERE performance_metrics.outcome = 'succeeded'::text AND performance_metrics.vram_peak_mb > 0::double precision AND performance_metrics.vram_peak_mb < 'Infinity'::double precision) AS vram_peak_mb_histogram,
            histogram(ln(performance_metrics.rss_peak_mb), '-9.21034'::numeric::double precision, 14.78966::double precision, 1200) FILTER (WHERE performance_metrics.outcome = 'succeeded'::text AND performance_metrics.rss_peak_mb > 0::double precision AND performance_metrics.rss_peak_mb < 'Infinity'::double precision) AS rss_peak_mb_histogram,
            histogram(ln(performance_metrics.rss_mean_mb), '-9.21034'::numeric::double precision, 14.78966::double precision, 1200) FILTER (WHERE performance_metrics.outcome = 'succeeded'::text AND performance_metrics.rss_mean_mb > 0::double precision AND performance_metrics.rss_mean_mb < 'Infinity'::double precision) AS rss_mean_mb_histogram,
            histogram(ln(performance_metrics.cpu_mean_pct), '-6.907755'::numeric::double precision, 11.492245::double precision, 920) FILTER (WHERE performance_metrics.outcome = 'succeeded'::text AND performance_metrics.cpu_mean_pct > 0::double precision AND performance_metrics.cpu_mean_pct < 'Infinity'::double precision) AS cpu_mean_pct_histogram,
            histogram(ln(performance_metrics.cpu_max_pct), '-6.907755'::numeric::double precision, 11.492245::double precision, 920) FILTER (WHERE performance_metrics.outcome = 'succeeded'::text AND performance_metrics.cpu_max_pct > 0::double precision AND performance_metrics.cpu_max_pct < 'Infinity'::double precision) AS cpu_max_pct_histogram,
            histogram(ln(performance_metrics.read_mb), '-9.21034'::numeric::double precision, 14.78966::double precision, 1200) FILTER (WHERE performance_metrics.outcome = 'succeeded'::text AND performance_metrics.read_mb > 0::double precision AND performance_metrics.read_mb < 'Infinity'::double precision) AS read_mb_histogram,
            histogram(ln(performance_metrics.write_mb), '-9.21034'::numeric::double precision, 14.78966::double precision, 1200) FILTER (WHERE performance_metrics.outcome = 'succeeded'::text AND performance_metrics.write_mb > 0::double precision AND performance_metrics.write_mb < 'Infinity'::double precision) AS write_mb_histogram,
            histogram(ln(performance_metrics.wall_seconds / NULLIF(performance_metrics.segment_count, 0)::double precision), '-6.907755'::numeric::double precision, 13.572245::double precision, 1024) FILTER (WHERE performance_metrics.outcome = 'succeeded'::text AND (performance_metrics.wall_seconds / NULLIF(performance_metrics.segment_count, 0)::double precision) > 0::double precision AND (performance_metrics.wall_seconds / NULLIF(performance_metrics.segment_count, 0)::double precision) < 'Infinity'::double precision) AS wall_seconds_per_segment_histogram,
            histogram(ln(performance_metrics.gpu_seconds / NULLIF(performance_metrics.segment_count, 0)::double precision), '-6.907755'::numeric::double precision, 13.572245::double precision, 1024) FILTER (WHERE performance_metrics.outcome = 'succeeded'::text AND (performance_metrics.gpu_seconds / NULLIF(performance_metrics.segment_count, 0)::double precision) > 0::double precision AND (performance_metrics.gpu_seconds / NULLIF(performance_metrics.segment_count, 0)::double precision) < 'Infinity'::double precision) AS gpu_seconds_per_segment_histogram,
            histogram(ln(performance_metrics.output_mb / NULLIF(performance_metrics.segment_count, 0)::double precision), '-9.21034'::numeric::double precision, 14.78966::double precision, 1200) FILTER (WHERE performance_metrics.outcome = 'succeeded'::text AND (performance_metrics.output_mb / NULLIF(performance_metrics.segment_count, 0)::double precision) > 0::double precision AND (performance_metrics.output_mb / NULLIF(performance_metrics.segment_count, 0)::double precision) < 'Infinity'::double precision) AS output_mb_per_segment_histogram,
            histogram(ln(performance_metrics.queue_wait_seconds), '-6.907755'::numeric::double precision, 13.572245::double precision, 1024) FILTER (WHERE true AND performance_metrics.queue_wait_seconds > 0::double precision AND performance_metrics.queue_wait_seconds < 'Infinity'::double precision) AS queue_wait_seconds_histogram,
            histogram(ln(performance_metrics.dependency_wait_seconds), '-6.907755'::numeric::double precision, 13.572245::double precision, 1024) FILTER (WHERE true AND performance_metrics.dependency_wait_seconds > 0::double precision AND performance_metrics.dependency_wait_seconds < 'Infinity'::double precision) AS dependency_wait_seconds_histogram
           FROM telemetry.performance_metrics
          WHERE performance_metrics.finished_at >= touched.bucket AND performance_metrics.finished_at < time_bucket('1 day'::interval, touched.bucket + '36:00:00'::interval, 'UTC'::text)
          GROUP BY (time_bucket('1 day'::interval, performance_metrics.finished_at, 'UTC'::text)), performance_metrics.workflow_id, performance_metrics.tier_id) computed;
