-- metrics
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
    FROM rollup.attempts_by_worker_fine
    WHERE
      bucket >= CAST('2026-03-01T00:00:00+00:00' AS TIMESTAMPTZ)
      AND bucket < CAST('2026-04-01T00:00:00+00:00' AS TIMESTAMPTZ)
  ) AS parts
  GROUP BY
    parts.bucket
) AS answer
ORDER BY
  1;
