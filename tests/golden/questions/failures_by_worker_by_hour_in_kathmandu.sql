-- metrics
-- start_0: 2026-03-01T00:00:00+00:00
-- end_0: 2026-04-01T00:00:00+00:00
SELECT
  answer.bucket,
  worker_names.name AS worker,
  answer.failed_count,
  answer.failure_ratio
FROM (
  SELECT
    parts.bucket,
    parts.worker_id,
    COALESCE(CAST(SUM(parts.failed_count) AS BIGINT), 0) AS failed_count,
    CAST(COALESCE(CAST(SUM(parts.failed_count) AS BIGINT), 0) AS DOUBLE PRECISION) / NULLIF(COALESCE(CAST(SUM(parts.attempt_count) AS BIGINT), 0), 0) AS failure_ratio
  FROM (
    SELECT
      DATE_BIN(INTERVAL '15 MINUTES', bucket, CAST('2000-01-01 00:00:00+00' AS TIMESTAMPTZ)) - MAKE_INTERVAL(
        mins => CAST(EXTRACT(MINUTE FROM DATE_BIN(INTERVAL '15 MINUTES', bucket, CAST('2000-01-01 00:00:00+00' AS TIMESTAMPTZ)) AT TIME ZONE 'Asia/Kathmandu') AS INT)
      ) AS bucket,
      worker_id,
      attempt_count,
      failed_count
    FROM rollup.attempts_by_worker_fine_cells
    WHERE
      bucket >= CAST(%(start_0)s AS TIMESTAMPTZ)
      AND bucket < CAST(%(end_0)s AS TIMESTAMPTZ)
  ) AS parts
  GROUP BY
    parts.bucket,
    parts.worker_id
) AS answer
LEFT JOIN studio.workers AS worker_names
  ON worker_names.id = answer.worker_id
ORDER BY
  1,
  2;
