-- metrics
-- start_0: 2026-03-01T00:00:00+00:00
-- end_0: 2026-04-01T00:00:00+00:00
SELECT
  answer.bucket,
  project_names.name AS project,
  answer.outcome AS outcome,
  answer.gpu_hours,
  answer.cold_ratio
FROM (
  SELECT
    parts.bucket,
    parts.project_id,
    parts.outcome,
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
    CAST(COALESCE(CAST(SUM(parts.cold_count) AS BIGINT), 0) AS DOUBLE PRECISION) / NULLIF(COALESCE(CAST(SUM(parts.succeeded_count) AS BIGINT), 0), 0) AS cold_ratio
  FROM (
    SELECT
      DATE_TRUNC('MONTH', finished_at, 'UTC') AS bucket,
      project_id,
      outcome,
      COUNT(*) FILTER(WHERE
        outcome = 'succeeded' AND is_cold) AS cold_count,
      SUM(gpu_seconds) FILTER(WHERE
        outcome = 'succeeded') AS gpu_seconds_sum,
      COUNT(*) FILTER(WHERE
        outcome = 'succeeded') AS succeeded_count
    FROM telemetry.performance_metrics
    WHERE
      finished_at >= CAST(%(start_0)s AS TIMESTAMPTZ)
      AND finished_at < CAST(%(end_0)s AS TIMESTAMPTZ)
    GROUP BY
      DATE_TRUNC('MONTH', finished_at, 'UTC'),
      project_id,
      outcome
    HAVING
      COUNT(*) > 0
  ) AS parts
  GROUP BY
    parts.bucket,
    parts.project_id,
    parts.outcome
) AS answer
LEFT JOIN studio.projects AS project_names
  ON project_names.id = answer.project_id
ORDER BY
  1,
  2,
  3;
