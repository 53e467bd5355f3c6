-- metrics
-- start_0: 2026-03-01T00:00:00+00:00
-- end_0: 2026-04-01T00:00:00+00:00
-- workflow: 1, 2
-- tier: 1
SELECT
  workflow_names.name AS workflow,
  answer.avg_wall_seconds_per_segment,
  answer.sd_wall_seconds_per_segment
FROM (
  SELECT
    parts.workflow_id,
    CAST(SUM(parts.wall_seconds_by_segments_sum) AS DOUBLE PRECISION) / NULLIF(SUM(parts.wall_seconds_by_segments_work_sum), 0) AS avg_wall_seconds_per_segment,
    SQRT(
      CAST(ABS(
        SUM(parts.wall_seconds_per_segment_sumsq) - CAST(SUM(parts.wall_seconds_per_segment_sum) * SUM(parts.wall_seconds_per_segment_sum) AS DOUBLE PRECISION) / NULLIF(COALESCE(CAST(SUM(parts.wall_seconds_per_segment_count) AS BIGINT), 0), 0)
      ) AS DOUBLE PRECISION) / NULLIF(
        (
          COALESCE(CAST(SUM(parts.wall_seconds_per_segment_count) AS BIGINT), 0) - 1
        ),
        0
      )
    ) AS sd_wall_seconds_per_segment
  FROM (
    SELECT
      workflow_id,
      wall_seconds_by_segments_sum,
      wall_seconds_by_segments_work_sum,
      wall_seconds_per_segment_count,
      wall_seconds_per_segment_sum,
      wall_seconds_per_segment_sumsq
    FROM rollup.attempts_by_workflow_daily_cells
    WHERE
      bucket >= CAST(%(start_0)s AS TIMESTAMPTZ)
      AND bucket < CAST(%(end_0)s AS TIMESTAMPTZ)
      AND workflow_id = ANY(
        CAST(%(workflow)s AS INT[])
      )
      AND (
        tier_id = ANY(
          CAST(%(tier)s AS INT[])
        ) OR tier_id IS NULL
      )
  ) AS parts
  GROUP BY
    parts.workflow_id
) AS answer
LEFT JOIN studio.workflows AS workflow_names
  ON workflow_names.id = answer.workflow_id
ORDER BY
  1;
