-- metrics
SELECT
  answer.attempt_count
FROM (
  SELECT
    COALESCE(CAST(SUM(parts.attempt_count) AS BIGINT), 0) AS attempt_count
  FROM (
    SELECT
      COUNT(*) AS attempt_count
    FROM telemetry.performance_metrics
    WHERE
      finished_at >= CAST('2026-03-01T00:00:00+00:00' AS TIMESTAMPTZ)
      AND finished_at < CAST('2026-04-01T00:00:00+00:00' AS TIMESTAMPTZ)
      AND variant IS NULL
      AND outcome IN ('failed')
    HAVING
      COUNT(*) > 0
  ) AS parts
) AS answer;
