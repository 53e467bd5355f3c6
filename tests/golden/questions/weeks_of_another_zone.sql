-- metrics
-- start_0: 2026-03-01T00:00:00+00:00
-- end_0: 2026-04-01T00:00:00+00:00
SELECT
  answer.bucket,
  answer.segment_count
FROM (
  SELECT
    parts.bucket,
    COALESCE(
      SUM(parts.segment_count_sum),
      CAST(0 AS DOUBLE PRECISION) / NULLIF(
        (
          ABS(COALESCE(CAST(SUM(parts.succeeded_count) AS BIGINT), 0) - 1) - (
            COALESCE(CAST(SUM(parts.succeeded_count) AS BIGINT), 0) - 1
          )
        ),
        0
      )
    ) AS segment_count
  FROM (
    SELECT
      DATE_TRUNC('WEEK', bucket, 'America/New_York') AS bucket,
      segment_count_sum,
      succeeded_count
    FROM rollup.attempt_totals_by_workflow_hourly_cells
    WHERE
      bucket >= CAST(%(start_0)s AS TIMESTAMPTZ)
      AND bucket < CAST(%(end_0)s AS TIMESTAMPTZ)
  ) AS parts
  GROUP BY
    parts.bucket
) AS answer
ORDER BY
  1;
