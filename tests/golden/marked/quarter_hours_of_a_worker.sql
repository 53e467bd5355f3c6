-- metrics
-- start_0: 2026-03-01T00:00:00+00:00
-- end_0: 2026-04-01T00:00:00+00:00
-- starts_0: 2026-03-01T00:00:00+00:00, 2026-03-02T06:15:00+00:00, 2026-03-05T04:30:00+00:00, 2026-03-20T00:15:00+00:00
-- ends_0: 2026-03-02T06:00:00+00:00, 2026-03-05T04:15:00+00:00, 2026-03-20T00:00:00+00:00, 2026-04-01T00:00:00+00:00
-- start_1: 2026-03-02T06:00:00+00:00
-- end_1: 2026-03-20T00:15:00+00:00
-- starts_1: 2026-03-02T06:00:00+00:00, 2026-03-05T04:15:00+00:00, 2026-03-20T00:00:00+00:00
-- ends_1: 2026-03-02T06:15:00+00:00, 2026-03-05T04:30:00+00:00, 2026-03-20T00:15:00+00:00
-- worker: 3
SELECT
  answer.bucket,
  answer.avg_rtf
FROM (
  SELECT
    parts.bucket,
    CAST(SUM(parts.wall_seconds_by_input_seconds_work_sum) AS DOUBLE PRECISION) / NULLIF(SUM(parts.wall_seconds_by_input_seconds_sum), 0) AS avg_rtf
  FROM (
    SELECT
      computed.bucket,
      computed.wall_seconds_by_input_seconds_sum,
      computed.wall_seconds_by_input_seconds_work_sum
    FROM UNNEST(CAST(%(starts_0)s AS TIMESTAMPTZ[]), CAST(%(ends_0)s AS TIMESTAMPTZ[])) AS span(opens_at, closes_at)
    CROSS JOIN LATERAL (
      SELECT
        DATE_BIN(INTERVAL '15 MINUTES', bucket, CAST('2000-01-01 00:00:00+00' AS TIMESTAMPTZ)) AS bucket,
        wall_seconds_by_input_seconds_sum,
        wall_seconds_by_input_seconds_work_sum
      FROM rollup.attempts_by_worker_fine_cells
      WHERE
        bucket >= CAST(%(start_0)s AS TIMESTAMPTZ)
        AND bucket < CAST(%(end_0)s AS TIMESTAMPTZ)
        AND bucket >= span.opens_at
        AND bucket < span.closes_at
        AND worker_id = ANY(
          CAST(%(worker)s AS INT[])
        )
    ) AS computed
    UNION ALL
    SELECT
      computed.bucket,
      computed.wall_seconds_by_input_seconds_sum,
      computed.wall_seconds_by_input_seconds_work_sum
    FROM UNNEST(CAST(%(starts_1)s AS TIMESTAMPTZ[]), CAST(%(ends_1)s AS TIMESTAMPTZ[])) AS span(opens_at, closes_at)
    CROSS JOIN LATERAL (
      SELECT
        DATE_BIN(INTERVAL '15 MINUTES', finished_at, CAST('2000-01-01 00:00:00+00' AS TIMESTAMPTZ)) AS bucket,
        SUM(wall_seconds) FILTER(WHERE
          outcome = 'succeeded' AND wall_seconds IS NOT NULL AND input_duration_seconds > 0) AS wall_seconds_by_input_seconds_sum,
        SUM(input_duration_seconds) FILTER(WHERE
          outcome = 'succeeded' AND wall_seconds IS NOT NULL AND input_duration_seconds > 0) AS wall_seconds_by_input_seconds_work_sum
      FROM telemetry.performance_metrics
      WHERE
        finished_at >= CAST(%(start_1)s AS TIMESTAMPTZ)
        AND finished_at < CAST(%(end_1)s AS TIMESTAMPTZ)
        AND finished_at >= span.opens_at
        AND finished_at < span.closes_at
        AND worker_id = ANY(
          CAST(%(worker)s AS INT[])
        )
      GROUP BY
        DATE_BIN(INTERVAL '15 MINUTES', finished_at, CAST('2000-01-01 00:00:00+00' AS TIMESTAMPTZ))
      HAVING
        COUNT(*) > 0
    ) AS computed
  ) AS parts
  GROUP BY
    parts.bucket
) AS answer
ORDER BY
  1;
