-- metrics
-- start_0: 2026-03-01T10:20:30.123456+00:00
-- end_0: 2026-03-09T08:05:00+00:00
-- starts_0: 2026-03-01T10:20:30.123456+00:00, 2026-03-09T08:00:00+00:00
-- ends_0: 2026-03-01T10:30:00+00:00, 2026-03-09T08:05:00+00:00
-- start_1: 2026-03-01T10:30:00+00:00
-- end_1: 2026-03-09T08:00:00+00:00
-- starts_1: 2026-03-01T10:30:00+00:00, 2026-03-09T00:00:00+00:00
-- ends_1: 2026-03-02T00:00:00+00:00, 2026-03-09T08:00:00+00:00
-- start_2: 2026-03-02T00:00:00+00:00
-- end_2: 2026-03-09T00:00:00+00:00
SELECT
  worker_names.name AS worker,
  answer.generating_hours,
  answer.idle_hours,
  answer.utilisation_ratio
FROM (
  SELECT
    parts.worker_id,
    CAST(COALESCE(SUM(parts.generating_seconds_sum), 0 * SUM(parts.covered_seconds_sum)) AS DOUBLE PRECISION) / NULLIF(3600, 0) AS generating_hours,
    CAST(COALESCE(SUM(parts.idle_seconds_sum), 0 * SUM(parts.covered_seconds_sum)) AS DOUBLE PRECISION) / NULLIF(3600, 0) AS idle_hours,
    CAST(COALESCE(SUM(parts.generating_seconds_sum), 0) AS DOUBLE PRECISION) / NULLIF(
      (
        SUM(parts.covered_seconds_sum) - COALESCE(SUM(parts.offline_seconds_sum), 0)
      ),
      0
    ) AS utilisation_ratio
  FROM (
    SELECT
      computed.worker_id,
      computed.covered_seconds_sum,
      computed.generating_seconds_sum,
      computed.idle_seconds_sum,
      computed.offline_seconds_sum
    FROM UNNEST(CAST(%(starts_0)s AS TIMESTAMPTZ[]), CAST(%(ends_0)s AS TIMESTAMPTZ[])) AS span(opens_at, closes_at)
    CROSS JOIN LATERAL (
      SELECT
        worker_id,
        SUM(covered_seconds) AS covered_seconds_sum,
        SUM(covered_seconds) FILTER(WHERE
          state = 'generating') AS generating_seconds_sum,
        SUM(covered_seconds) FILTER(WHERE
          state = 'idle') AS idle_seconds_sum,
        SUM(covered_seconds) FILTER(WHERE
          state = 'offline') AS offline_seconds_sum
      FROM (
        SELECT
          covered_from,
          state,
          worker_id,
          CAST(EXTRACT(EPOCH FROM (
            LEAST(covered_to, span.closes_at) - GREATEST(covered_from, span.opens_at)
          )) AS DOUBLE PRECISION) AS covered_seconds
        FROM telemetry.worker_heartbeats
        WHERE
          covered_from > (
            CAST(%(start_0)s AS TIMESTAMPTZ) - INTERVAL '15 MINUTES'
          )
          AND covered_from < CAST(%(end_0)s AS TIMESTAMPTZ)
          AND covered_to > CAST(%(start_0)s AS TIMESTAMPTZ)
          AND covered_from > (
            span.opens_at - INTERVAL '15 MINUTES'
          )
          AND covered_from < span.closes_at
          AND covered_to > span.opens_at
      ) AS clipped
      GROUP BY
        worker_id
      HAVING
        COUNT(*) > 0
    ) AS computed
    UNION ALL
    SELECT
      computed.worker_id,
      computed.covered_seconds_sum,
      computed.generating_seconds_sum,
      computed.idle_seconds_sum,
      computed.offline_seconds_sum
    FROM UNNEST(CAST(%(starts_1)s AS TIMESTAMPTZ[]), CAST(%(ends_1)s AS TIMESTAMPTZ[])) AS span(opens_at, closes_at)
    CROSS JOIN LATERAL (
      SELECT
        worker_id,
        covered_seconds_sum,
        generating_seconds_sum,
        idle_seconds_sum,
        offline_seconds_sum
      FROM rollup.heartbeats_by_worker_fine_cells
      WHERE
        bucket >= CAST(%(start_1)s AS TIMESTAMPTZ)
        AND bucket < CAST(%(end_1)s AS TIMESTAMPTZ)
        AND bucket >= span.opens_at
        AND bucket < span.closes_at
    ) AS computed
    UNION ALL
    SELECT
      worker_id,
      covered_seconds_sum,
      generating_seconds_sum,
      idle_seconds_sum,
      offline_seconds_sum
    FROM rollup.heartbeats_by_worker_daily_cells
    WHERE
      bucket >= CAST(%(start_2)s AS TIMESTAMPTZ)
      AND bucket < CAST(%(end_2)s AS TIMESTAMPTZ)
  ) AS parts
  GROUP BY
    parts.worker_id
) AS answer
LEFT JOIN studio.workers AS worker_names
  ON worker_names.id = answer.worker_id
ORDER BY
  1;
