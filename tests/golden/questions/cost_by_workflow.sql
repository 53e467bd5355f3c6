-- metrics
-- start_0: 2026-03-01T00:00:00+00:00
-- end_0: 2026-04-01T00:00:00+00:00
SELECT
  workflow_names.name AS workflow,
  answer.gpu_hours,
  answer.wall_hours,
  answer.succeeded_count
FROM (
  SELECT
    parts.workflow_id,
    CAST(COALESCE(
      SUM(parts.gpu_seconds_sum),
      CAST(0 AS DOUBLE PRECISION) / NULLIF(
        (
          ABS(COALESCE(CAST(SUM(parts.succeeded_count) AS BIGINT), 0) - 1) - (
            COALESCE(CAST(SUM(parts.succeeded_count) AS BIGINT), 0) - 1
          )
        ),
        0
      )
    ) AS DOUBLE PRECISION) / NULLIF(3600, 0) AS gpu_hours,
    CAST(COALESCE(
      SUM(parts.wall_seconds_sum),
      CAST(0 AS DOUBLE PRECISION) / NULLIF(
        (
          ABS(COALESCE(CAST(SUM(parts.succeeded_count) AS BIGINT), 0) - 1) - (
            COALESCE(CAST(SUM(parts.succeeded_count) AS BIGINT), 0) - 1
          )
        ),
        0
      )
    ) AS DOUBLE PRECISION) / NULLIF(3600, 0) AS wall_hours,
    COALESCE(CAST(SUM(parts.succeeded_count) AS BIGINT), 0) AS succeeded_count
  FROM (
    SELECT
      workflow_id,
      gpu_seconds_sum,
      succeeded_count,
      wall_seconds_sum
    FROM rollup.attempt_totals_by_workflow_daily_cells
    WHERE
      bucket >= CAST(%(start_0)s AS TIMESTAMPTZ)
      AND bucket < CAST(%(end_0)s AS TIMESTAMPTZ)
  ) AS parts
  GROUP BY
    parts.workflow_id
) AS answer
LEFT JOIN studio.workflows AS workflow_names
  ON workflow_names.id = answer.workflow_id
ORDER BY
  1;
