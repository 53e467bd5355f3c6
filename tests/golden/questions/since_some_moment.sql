-- metrics
SELECT
  workflow_names.name AS workflow,
  answer.attempt_count,
  answer.output_gb
FROM (
  SELECT
    parts.workflow_id,
    COALESCE(CAST(SUM(parts.attempt_count) AS BIGINT), 0) AS attempt_count,
    CAST(SUM(parts.output_mb_sum) AS DOUBLE PRECISION) / NULLIF(1024, 0) AS output_gb
  FROM (
    SELECT
      workflow_id,
      COUNT(*) AS attempt_count,
      SUM(output_mb) FILTER(WHERE
        outcome = 'succeeded') AS output_mb_sum
    FROM telemetry.performance_metrics
    WHERE
      finished_at >= CAST('2026-03-01T10:20:30.123456+00:00' AS TIMESTAMPTZ)
      AND finished_at < CAST('2026-03-01T10:30:00+00:00' AS TIMESTAMPTZ)
    GROUP BY
      workflow_id
    HAVING
      COUNT(*) > 0
    UNION ALL
    SELECT
      workflow_id,
      attempt_count,
      output_mb_sum
    FROM rollup.attempts_by_workflow_fine
    WHERE
      bucket >= CAST('2026-03-01T10:30:00+00:00' AS TIMESTAMPTZ)
      AND bucket < CAST('2026-03-02T00:00:00+00:00' AS TIMESTAMPTZ)
    UNION ALL
    SELECT
      workflow_id,
      attempt_count,
      output_mb_sum
    FROM rollup.attempts_by_workflow_daily
    WHERE
      bucket >= CAST('2026-03-02T00:00:00+00:00' AS TIMESTAMPTZ)
      AND bucket < CAST('2026-03-09T00:00:00+00:00' AS TIMESTAMPTZ)
    UNION ALL
    SELECT
      workflow_id,
      attempt_count,
      output_mb_sum
    FROM rollup.attempts_by_workflow_fine
    WHERE
      bucket >= CAST('2026-03-09T00:00:00+00:00' AS TIMESTAMPTZ)
      AND bucket < CAST('2026-03-09T08:00:00+00:00' AS TIMESTAMPTZ)
    UNION ALL
    SELECT
      workflow_id,
      COUNT(*) AS attempt_count,
      SUM(output_mb) FILTER(WHERE
        outcome = 'succeeded') AS output_mb_sum
    FROM telemetry.performance_metrics
    WHERE
      finished_at >= CAST('2026-03-09T08:00:00+00:00' AS TIMESTAMPTZ)
      AND finished_at < CAST('2026-03-09T08:05:00+00:00' AS TIMESTAMPTZ)
    GROUP BY
      workflow_id
    HAVING
      COUNT(*) > 0
  ) AS parts
  GROUP BY
    parts.workflow_id
) AS answer
LEFT JOIN studio.workflows AS workflow_names
  ON workflow_names.id = answer.workflow_id
ORDER BY
  1;
