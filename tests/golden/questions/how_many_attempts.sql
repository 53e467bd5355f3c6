-- metrics
SELECT
  answer.attempt_count
FROM (
  SELECT
    COALESCE(CAST(SUM(parts.attempt_count) AS BIGINT), 0) AS attempt_count
  FROM (
    SELECT
      attempt_count
    FROM rollup.attempts_by_workflow_daily
    WHERE
      bucket >= CAST('2026-03-01T00:00:00+00:00' AS TIMESTAMPTZ)
      AND bucket < CAST('2026-04-01T00:00:00+00:00' AS TIMESTAMPTZ)
  ) AS parts
) AS answer;
