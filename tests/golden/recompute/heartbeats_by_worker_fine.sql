INSERT INTO "rollup"."heartbeats_by_worker_fine_cells" (
  bucket,
  worker_id,
  heartbeat_count,
  newest_recorded_at,
  covered_seconds_sum,
  generating_seconds_sum,
  idle_seconds_sum,
  offline_seconds_sum
)
SELECT
  touched.bucket,
  computed.worker_id,
  computed.heartbeat_count,
  computed.newest_recorded_at,
  computed.covered_seconds_sum,
  computed.generating_seconds_sum,
  computed.idle_seconds_sum,
  computed.offline_seconds_sum
FROM UNNEST(CAST($1 AS TIMESTAMPTZ[])) AS touched(bucket)
CROSS JOIN LATERAL (
  SELECT
    TIME_BUCKET(INTERVAL '15 MINUTES', covered_from) AS bucket,
    worker_id,
    COUNT(*) AS heartbeat_count,
    MAX(recorded_at) AS newest_recorded_at,
    SUM(covered_seconds) AS covered_seconds_sum,
    SUM(covered_seconds) FILTER(WHERE
      state = 'generating') AS generating_seconds_sum,
    SUM(covered_seconds) FILTER(WHERE
      state = 'idle') AS idle_seconds_sum,
    SUM(covered_seconds) FILTER(WHERE
      state = 'offline') AS offline_seconds_sum
  FROM "telemetry"."worker_heartbeats"
  WHERE
    covered_from >= touched.bucket
    AND covered_from < touched.bucket + INTERVAL '15 MINUTES'
  GROUP BY
    1,
    2
) AS computed
ORDER BY
  1,
  2;
