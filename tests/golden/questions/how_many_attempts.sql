-- metrics
-- start_0: 2026-03-01T00:00:00+00:00
-- end_0: 2026-04-01T00:00:00+00:00
SELECT
  answer.attempt_count
FROM (
  SELECT
    COALESCE(CAST(SUM(parts.attempt_count) AS BIGINT), 0) AS attempt_count
  FROM (
    SELECT
      attempt_count
    FROM rollup.attempt_totals_by_workflow_daily_cells
    WHERE
      bucket >= CAST(%(start_0)s AS TIMESTAMPTZ)
      AND bucket < CAST(%(end_0)s AS TIMESTAMPTZ)
  ) AS parts
) AS answer;
