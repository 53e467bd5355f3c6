INSERT INTO "rollup"."heartbeats_by_worker_daily_cells" (
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
    TIME_BUCKET(INTERVAL '1 DAY', bucket, 'UTC') AS bucket,
    worker_id,
    CAST(SUM(heartbeat_count) AS BIGINT) AS heartbeat_count,
    MAX(newest_recorded_at) AS newest_recorded_at,
    SUM(covered_seconds_sum) AS covered_seconds_sum,
    SUM(generating_seconds_sum) AS generating_seconds_sum,
    SUM(idle_seconds_sum) AS idle_seconds_sum,
    SUM(offline_seconds_sum) AS offline_seconds_sum
  FROM "rollup"."heartbeats_by_worker_fine"
  WHERE
    bucket >= touched.bucket
    AND bucket < TIME_BUCKET(INTERVAL '1 DAY', touched.bucket + INTERVAL '36 HOURS', 'UTC')
  GROUP BY
    1,
    2
) AS computed
ORDER BY
  1,
  2;
