-- metrics
-- start_0: 2026-03-01T00:00:00+00:00
-- end_0: 2026-04-01T00:00:00+00:00
SELECT
  answer.bucket,
  answer.segment_count
FROM (
  SELECT
    parts.bucket,
    SUM(parts.segment_count_sum) AS segment_count
  FROM (
    SELECT
      DATE_TRUNC('WEEK', bucket, 'America/New_York') AS bucket,
      segment_count_sum
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
