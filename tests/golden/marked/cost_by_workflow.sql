-- metrics
-- start_0: 2026-03-01T00:00:00+00:00
-- end_0: 2026-04-01T00:00:00+00:00
-- starts_0: 2026-03-01T00:00:00+00:00, 2026-03-03T00:00:00+00:00, 2026-03-06T00:00:00+00:00, 2026-03-09T00:00:00+00:00
-- ends_0: 2026-03-02T00:00:00+00:00, 2026-03-05T00:00:00+00:00, 2026-03-08T00:00:00+00:00, 2026-04-01T00:00:00+00:00
-- start_1: 2026-03-02T00:00:00+00:00
-- end_1: 2026-03-09T00:00:00+00:00
-- starts_1: 2026-03-02T00:00:00+00:00, 2026-03-02T07:00:00+00:00, 2026-03-05T00:00:00+00:00, 2026-03-05T05:00:00+00:00, 2026-03-08T00:00:00+00:00
-- ends_1: 2026-03-02T06:00:00+00:00, 2026-03-03T00:00:00+00:00, 2026-03-05T04:00:00+00:00, 2026-03-06T00:00:00+00:00, 2026-03-09T00:00:00+00:00
-- start_2: 2026-03-02T06:00:00+00:00
-- end_2: 2026-03-05T04:30:00+00:00
-- starts_2: 2026-03-02T06:00:00+00:00, 2026-03-05T04:15:00+00:00
-- ends_2: 2026-03-02T06:15:00+00:00, 2026-03-05T04:30:00+00:00
-- start_3: 2026-03-02T06:15:00+00:00
-- end_3: 2026-03-05T05:00:00+00:00
-- starts_3: 2026-03-02T06:15:00+00:00, 2026-03-05T04:00:00+00:00, 2026-03-05T04:30:00+00:00
-- ends_3: 2026-03-02T07:00:00+00:00, 2026-03-05T04:15:00+00:00, 2026-03-05T05:00:00+00:00
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
      computed.workflow_id,
      computed.gpu_seconds_sum,
      computed.succeeded_count,
      computed.wall_seconds_sum
    FROM UNNEST(CAST(%(starts_0)s AS TIMESTAMPTZ[]), CAST(%(ends_0)s AS TIMESTAMPTZ[])) AS span(opens_at, closes_at)
    CROSS JOIN LATERAL (
      SELECT
        workflow_id,
        gpu_seconds_sum,
        succeeded_count,
        wall_seconds_sum
      FROM rollup.attempt_totals_by_workflow_daily_cells
      WHERE
        bucket >= CAST(%(start_0)s AS TIMESTAMPTZ)
        AND bucket < CAST(%(end_0)s AS TIMESTAMPTZ)
        AND bucket >= span.opens_at
        AND bucket < span.closes_at
    ) AS computed
    UNION ALL
    SELECT
      computed.workflow_id,
      computed.gpu_seconds_sum,
      computed.succeeded_count,
      computed.wall_seconds_sum
    FROM UNNEST(CAST(%(starts_1)s AS TIMESTAMPTZ[]), CAST(%(ends_1)s AS TIMESTAMPTZ[])) AS span(opens_at, closes_at)
    CROSS JOIN LATERAL (
      SELECT
        workflow_id,
        gpu_seconds_sum,
        succeeded_count,
        wall_seconds_sum
      FROM rollup.attempt_totals_by_workflow_hourly_cells
      WHERE
        bucket >= CAST(%(start_1)s AS TIMESTAMPTZ)
        AND bucket < CAST(%(end_1)s AS TIMESTAMPTZ)
        AND bucket >= span.opens_at
        AND bucket < span.closes_at
    ) AS computed
    UNION ALL
    SELECT
      computed.workflow_id,
      computed.gpu_seconds_sum,
      computed.succeeded_count,
      computed.wall_seconds_sum
    FROM UNNEST(CAST(%(starts_2)s AS TIMESTAMPTZ[]), CAST(%(ends_2)s AS TIMESTAMPTZ[])) AS span(opens_at, closes_at)
    CROSS JOIN LATERAL (
      SELECT
        workflow_id,
        SUM(gpu_seconds) FILTER(WHERE
          outcome = 'succeeded') AS gpu_seconds_sum,
        COUNT(*) FILTER(WHERE
          outcome = 'succeeded') AS succeeded_count,
        SUM(wall_seconds) FILTER(WHERE
          outcome = 'succeeded') AS wall_seconds_sum
      FROM telemetry.performance_metrics
      WHERE
        finished_at >= CAST(%(start_2)s AS TIMESTAMPTZ)
        AND finished_at < CAST(%(end_2)s AS TIMESTAMPTZ)
        AND finished_at >= span.opens_at
        AND finished_at < span.closes_at
      GROUP BY
        workflow_id
      HAVING
        COUNT(*) > 0
    ) AS computed
    UNION ALL
    SELECT
      computed.workflow_id,
      computed.gpu_seconds_sum,
      computed.succeeded_count,
      computed.wall_seconds_sum
    FROM UNNEST(CAST(%(starts_3)s AS TIMESTAMPTZ[]), CAST(%(ends_3)s AS TIMESTAMPTZ[])) AS span(opens_at, closes_at)
    CROSS JOIN LATERAL (
      SELECT
        workflow_id,
        gpu_seconds_sum,
        succeeded_count,
        wall_seconds_sum
      FROM rollup.attempt_totals_by_workflow_fine_cells
      WHERE
        bucket >= CAST(%(start_3)s AS TIMESTAMPTZ)
        AND bucket < CAST(%(end_3)s AS TIMESTAMPTZ)
        AND bucket >= span.opens_at
        AND bucket < span.closes_at
    ) AS computed
  ) AS parts
  GROUP BY
    parts.workflow_id
) AS answer
LEFT JOIN studio.workflows AS workflow_names
  ON workflow_names.id = answer.workflow_id
ORDER BY
  1;
