INSERT INTO "rollup"."attempt_quantiles_by_workflow_daily_cells" (
  bucket,
  workflow_id,
  tier_id,
  wall_seconds_histogram,
  gpu_seconds_histogram,
  output_mb_histogram,
  energy_joules_histogram,
  cpu_seconds_histogram,
  time_per_frame_ms_histogram,
  rtf_histogram,
  vram_peak_mb_histogram,
  rss_peak_mb_histogram,
  rss_mean_mb_histogram,
  cpu_mean_pct_histogram,
  cpu_max_pct_histogram,
  read_mb_histogram,
  write_mb_histogram,
  wall_seconds_per_segment_histogram,
  gpu_seconds_per_segment_histogram,
  output_mb_per_segment_histogram,
  queue_wait_seconds_histogram,
  dependency_wait_seconds_histogram
)
SELECT
  touched.bucket,
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
FROM UNNEST(CAST($1 AS TIMESTAMPTZ[])) AS touched(bucket)
CROSS JOIN LATERAL (
  SELECT
    TIME_BUCKET(INTERVAL '1 DAY', finished_at, 'UTC') AS bucket,
    workflow_id,
    tier_id,
    HISTOGRAM(LN(wall_seconds), -6.907755, 13.572245, 1024) FILTER(WHERE
      outcome = 'succeeded' AND wall_seconds > 0 AND wall_seconds < 'Infinity') AS wall_seconds_histogram,
    HISTOGRAM(LN(gpu_seconds), -6.907755, 13.572245, 1024) FILTER(WHERE
      outcome = 'succeeded' AND gpu_seconds > 0 AND gpu_seconds < 'Infinity') AS gpu_seconds_histogram,
    HISTOGRAM(LN(output_mb), -9.21034, 14.78966, 1200) FILTER(WHERE
      outcome = 'succeeded' AND output_mb > 0 AND output_mb < 'Infinity') AS output_mb_histogram,
    HISTOGRAM(LN(energy_joules), -6.907755, 19.092245, 1300) FILTER(WHERE
      outcome = 'succeeded' AND energy_joules > 0 AND energy_joules < 'Infinity') AS energy_joules_histogram,
    HISTOGRAM(LN(cpu_seconds), -6.907755, 13.572245, 1024) FILTER(WHERE
      outcome = 'succeeded' AND cpu_seconds > 0 AND cpu_seconds < 'Infinity') AS cpu_seconds_histogram,
    HISTOGRAM(LN(time_per_frame_ms), -6.907755, 13.572245, 1024) FILTER(WHERE
      outcome = 'succeeded' AND time_per_frame_ms > 0 AND time_per_frame_ms < 'Infinity') AS time_per_frame_ms_histogram,
    HISTOGRAM(LN(rtf), -6.907755, 9.092245, 800) FILTER(WHERE
      outcome = 'succeeded' AND rtf > 0 AND rtf < 'Infinity') AS rtf_histogram,
    HISTOGRAM(LN(vram_peak_mb), -9.21034, 14.78966, 1200) FILTER(WHERE
      outcome = 'succeeded' AND vram_peak_mb > 0 AND vram_peak_mb < 'Infinity') AS vram_peak_mb_histogram,
    HISTOGRAM(LN(rss_peak_mb), -9.21034, 14.78966, 1200) FILTER(WHERE
      outcome = 'succeeded' AND rss_peak_mb > 0 AND rss_peak_mb < 'Infinity') AS rss_peak_mb_histogram,
    HISTOGRAM(LN(rss_mean_mb), -9.21034, 14.78966, 1200) FILTER(WHERE
      outcome = 'succeeded' AND rss_mean_mb > 0 AND rss_mean_mb < 'Infinity') AS rss_mean_mb_histogram,
    HISTOGRAM(LN(cpu_mean_pct), -6.907755, 11.492245, 920) FILTER(WHERE
      outcome = 'succeeded' AND cpu_mean_pct > 0 AND cpu_mean_pct < 'Infinity') AS cpu_mean_pct_histogram,
    HISTOGRAM(LN(cpu_max_pct), -6.907755, 11.492245, 920) FILTER(WHERE
      outcome = 'succeeded' AND cpu_max_pct > 0 AND cpu_max_pct < 'Infinity') AS cpu_max_pct_histogram,
    HISTOGRAM(LN(read_mb), -9.21034, 14.78966, 1200) FILTER(WHERE
      outcome = 'succeeded' AND read_mb > 0 AND read_mb < 'Infinity') AS read_mb_histogram,
    HISTOGRAM(LN(write_mb), -9.21034, 14.78966, 1200) FILTER(WHERE
      outcome = 'succeeded' AND write_mb > 0 AND write_mb < 'Infinity') AS write_mb_histogram,
    HISTOGRAM(LN(wall_seconds / NULLIF(segment_count, 0)), -6.907755, 13.572245, 1024) FILTER(WHERE
      outcome = 'succeeded'
      AND wall_seconds / NULLIF(segment_count, 0) > 0
      AND wall_seconds / NULLIF(segment_count, 0) < 'Infinity') AS wall_seconds_per_segment_histogram,
    HISTOGRAM(LN(gpu_seconds / NULLIF(segment_count, 0)), -6.907755, 13.572245, 1024) FILTER(WHERE
      outcome = 'succeeded'
      AND gpu_seconds / NULLIF(segment_count, 0) > 0
      AND gpu_seconds / NULLIF(segment_count, 0) < 'Infinity') AS gpu_seconds_per_segment_histogram,
    HISTOGRAM(LN(output_mb / NULLIF(segment_count, 0)), -9.21034, 14.78966, 1200) FILTER(WHERE
      outcome = 'succeeded'
      AND output_mb / NULLIF(segment_count, 0) > 0
      AND output_mb / NULLIF(segment_count, 0) < 'Infinity') AS output_mb_per_segment_histogram,
    HISTOGRAM(LN(queue_wait_seconds), -6.907755, 13.572245, 1024) FILTER(WHERE
      TRUE AND queue_wait_seconds > 0 AND queue_wait_seconds < 'Infinity') AS queue_wait_seconds_histogram,
    HISTOGRAM(LN(dependency_wait_seconds), -6.907755, 13.572245, 1024) FILTER(WHERE
      TRUE AND dependency_wait_seconds > 0 AND dependency_wait_seconds < 'Infinity') AS dependency_wait_seconds_histogram
  FROM "telemetry"."performance_metrics"
  WHERE
    finished_at >= touched.bucket
    AND finished_at < TIME_BUCKET(INTERVAL '1 DAY', touched.bucket + INTERVAL '36 HOURS', 'UTC')
  GROUP BY
    1,
    2,
    3
) AS computed
ORDER BY
  1,
  2,
  3;
