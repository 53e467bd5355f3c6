-- metrics
-- start_0: 2026-03-01T10:20:30.123456+00:00
-- end_0: 2026-03-09T08:05:00+00:00
-- starts_0: 2026-03-01T10:20:30.123456+00:00, 2026-03-09T08:00:00+00:00
-- ends_0: 2026-03-01T10:30:00+00:00, 2026-03-09T08:05:00+00:00
-- start_1: 2026-03-01T10:30:00+00:00
-- end_1: 2026-03-01T11:00:00+00:00
-- start_2: 2026-03-01T11:00:00+00:00
-- end_2: 2026-03-09T08:00:00+00:00
-- starts_2: 2026-03-01T11:00:00+00:00, 2026-03-09T00:00:00+00:00
-- ends_2: 2026-03-02T00:00:00+00:00, 2026-03-09T08:00:00+00:00
-- start_3: 2026-03-02T00:00:00+00:00
-- end_3: 2026-03-09T00:00:00+00:00
SELECT
  workflow_names.name AS workflow,
  answer.attempt_count,
  answer.output_gb
FROM (
  SELECT
    parts.workflow_id,
    COALESCE(CAST(SUM(parts.attempt_count) AS BIGINT), 0) AS attempt_count,
    CAST(COALESCE(
      SUM(parts.output_mb_sum),
      CAST(0 AS DOUBLE PRECISION) / NULLIF(
        (
          ABS(COALESCE(CAST(SUM(parts.succeeded_count) AS BIGINT), 0) - 1) - (
            COALESCE(CAST(SUM(parts.succeeded_count) AS BIGINT), 0) - 1
          )
        ),
        0
      )
    ) AS DOUBLE PRECISION) / NULLIF(1024, 0) AS output_gb
  FROM (
    SELECT
      computed.workflow_id,
      computed.attempt_count,
      computed.output_mb_sum,
      computed.succeeded_count
    FROM UNNEST(CAST(%(starts_0)s AS TIMESTAMPTZ[]), CAST(%(ends_0)s AS TIMESTAMPTZ[])) AS span(opens_at, closes_at)
    CROSS JOIN LATERAL (
      SELECT
        workflow_id,
        COUNT(*) AS attempt_count,
        SUM(output_mb) FILTER(WHERE
          outcome = 'succeeded') AS output_mb_sum,
        COUNT(*) FILTER(WHERE
          outcome = 'succeeded') AS succeeded_count
      FROM telemetry.performance_metrics
      WHERE
        finished_at >= CAST(%(start_0)s AS TIMESTAMPTZ)
        AND finished_at < CAST(%(end_0)s AS TIMESTAMPTZ)
        AND finished_at >= span.opens_at
        AND finished_at < span.closes_at
      GROUP BY
        workflow_id
      HAVING
        COUNT(*) > 0
    ) AS computed
    UNION ALL
    SELECT
      workflow_id,
      attempt_count,
      output_mb_sum,
      succeeded_count
    FROM rollup.attempt_totals_by_workflow_fine_cells
    WHERE
      bucket >= CAST(%(start_1)s AS TIMESTAMPTZ)
      AND bucket < CAST(%(end_1)s AS TIMESTAMPTZ)
    UNION ALL
    SELECT
      computed.workflow_id,
      computed.attempt_count,
      computed.output_mb_sum,
      computed.succeeded_count
    FROM UNNEST(CAST(%(starts_2)s AS TIMESTAMPTZ[]), CAST(%(ends_2)s AS TIMESTAMPTZ[])) AS span(opens_at, closes_at)
    CROSS JOIN LATERAL (
      SELECT
        workflow_id,
        attempt_count,
        output_mb_sum,
        succeeded_count
      FROM rollup.attempt_totals_by_workflow_hourly_cells
      WHERE
        bucket >= CAST(%(start_2)s AS TIMESTAMPTZ)
        AND bucket < CAST(%(end_2)s AS TIMESTAMPTZ)
        AND bucket >= span.opens_at
        AND bucket < span.closes_at
    ) AS computed
    UNION ALL
    SELECT
      workflow_id,
      attempt_count,
      output_mb_sum,
      succeeded_count
    FROM rollup.attempt_totals_by_workflow_daily_cells
    WHERE
      bucket >= CAST(%(start_3)s AS TIMESTAMPTZ)
      AND bucket < CAST(%(end_3)s AS TIMESTAMPTZ)
  ) AS parts
  GROUP BY
    parts.workflow_id
) AS answer
LEFT JOIN studio.workflows AS workflow_names
  ON workflow_names.id = answer.workflow_id
ORDER BY
  1;
