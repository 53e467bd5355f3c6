-- metrics
-- start_0: 2026-03-01T00:00:00+00:00
-- end_0: 2026-04-01T00:00:00+00:00
-- worker: 3
SELECT
  answer.bucket,
  answer.avg_rtf
FROM (
  SELECT
    parts.bucket,
    CAST(SUM(parts.wall_seconds_by_input_seconds_work_sum) AS DOUBLE PRECISION) / NULLIF(SUM(parts.wall_seconds_by_input_seconds_sum), 0) AS avg_rtf
  FROM (
    SELECT
      DATE_BIN(INTERVAL '15 MINUTES', bucket, CAST('2000-01-01 00:00:00+00' AS TIMESTAMPTZ)) AS bucket,
      wall_seconds_by_input_seconds_sum,
      wall_seconds_by_input_seconds_work_sum
    FROM rollup.attempts_by_worker_fine_cells
    WHERE
      bucket >= CAST(%(start_0)s AS TIMESTAMPTZ)
      AND bucket < CAST(%(end_0)s AS TIMESTAMPTZ)
      AND worker_id = ANY(
        CAST(%(worker)s AS INT[])
      )
  ) AS parts
  GROUP BY
    parts.bucket
) AS answer
ORDER BY
  1;
