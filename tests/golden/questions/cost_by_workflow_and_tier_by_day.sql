-- metrics
-- start_0: 2026-03-01T00:00:00+00:00
-- end_0: 2026-04-01T00:00:00+00:00
SELECT
  answer.bucket,
  workflow_names.name AS workflow,
  tier_names.name AS tier,
  answer.gpu_hours
FROM (
  SELECT
    parts.bucket,
    parts.workflow_id,
    parts.tier_id,
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
    ) AS DOUBLE PRECISION) / NULLIF(3600, 0) AS gpu_hours
  FROM (
    SELECT
      DATE_TRUNC('DAY', bucket, 'UTC') AS bucket,
      workflow_id,
      tier_id,
      gpu_seconds_sum,
      succeeded_count
    FROM rollup.attempt_totals_by_workflow_daily_cells
    WHERE
      bucket >= CAST(%(start_0)s AS TIMESTAMPTZ)
      AND bucket < CAST(%(end_0)s AS TIMESTAMPTZ)
  ) AS parts
  GROUP BY
    parts.bucket,
    parts.workflow_id,
    parts.tier_id
) AS answer
LEFT JOIN studio.workflows AS workflow_names
  ON workflow_names.id = answer.workflow_id
LEFT JOIN studio.resolution_tiers AS tier_names
  ON tier_names.id = answer.tier_id
ORDER BY
  1,
  2,
  3;
