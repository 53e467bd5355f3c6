-- metrics
-- start_0: 2026-03-01T00:00:00+00:00
-- end_0: 2026-03-01T00:00:00+00:00
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
      finished_at >= CAST(%(start_0)s AS TIMESTAMPTZ)
      AND finished_at < CAST(%(end_0)s AS TIMESTAMPTZ)
    HAVING
      COUNT(*) > 0
  ) AS parts
) AS answer;
