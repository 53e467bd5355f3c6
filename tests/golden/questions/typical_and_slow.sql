-- metrics
-- start_0: 2026-03-01T00:00:00+00:00
-- end_0: 2026-04-01T00:00:00+00:00
SELECT
  workflow_names.name AS workflow,
  "answer"."_rtf_count",
  "answer"."_rtf_max",
  "answer"."_rtf_min",
  "answer"."_wall_seconds_count",
  "answer"."_wall_seconds_max",
  "answer"."_wall_seconds_min"
FROM (
  SELECT
    parts.workflow_id,
    COALESCE(CAST(SUM(parts.rtf_count) AS BIGINT), 0) AS _rtf_count,
    MAX(parts.rtf_max) AS _rtf_max,
    MIN(parts.rtf_min) AS _rtf_min,
    COALESCE(CAST(SUM(parts.wall_seconds_count) AS BIGINT), 0) AS _wall_seconds_count,
    MAX(parts.wall_seconds_max) AS _wall_seconds_max,
    MIN(parts.wall_seconds_min) AS _wall_seconds_min
  FROM (
    SELECT
      workflow_id,
      rtf_count,
      rtf_max,
      rtf_min,
      wall_seconds_count,
      wall_seconds_max,
      wall_seconds_min
    FROM rollup.attempts_by_workflow_daily_cells
    WHERE
      bucket >= CAST(%(start_0)s AS TIMESTAMPTZ)
      AND bucket < CAST(%(end_0)s AS TIMESTAMPTZ)
  ) AS parts
  GROUP BY
    parts.workflow_id
) AS answer
LEFT JOIN studio.workflows AS workflow_names
  ON workflow_names.id = answer.workflow_id
ORDER BY
  1;

-- histograms
-- start_0: 2026-03-01T00:00:00+00:00
-- end_0: 2026-04-01T00:00:00+00:00
SELECT
  workflow_names.name AS workflow,
  answer.wall_seconds_bins,
  answer.wall_seconds_counts,
  answer.rtf_bins,
  answer.rtf_counts
FROM (
  SELECT
    workflow_id,
    COALESCE(
      ARRAY_AGG(added.bin ORDER BY added.bin) FILTER(WHERE
        added.wall_seconds_counts > 0),
      '{}'
    ) AS wall_seconds_bins,
    COALESCE(
      ARRAY_AGG(added.wall_seconds_counts ORDER BY added.bin) FILTER(WHERE
        added.wall_seconds_counts > 0),
      '{}'
    ) AS wall_seconds_counts,
    COALESCE(ARRAY_AGG(added.bin ORDER BY added.bin) FILTER(WHERE
      added.rtf_counts > 0), '{}') AS rtf_bins,
    COALESCE(
      ARRAY_AGG(added.rtf_counts ORDER BY added.bin) FILTER(WHERE
        added.rtf_counts > 0),
      '{}'
    ) AS rtf_counts
  FROM (
    SELECT
      workflow_id,
      bin,
      CAST(SUM(bins.wall_seconds_counts) AS BIGINT) AS wall_seconds_counts,
      CAST(SUM(bins.rtf_counts) AS BIGINT) AS rtf_counts
    FROM (
      SELECT
        workflow_id,
        UNNEST(parts.wall_seconds_histogram) AS wall_seconds_counts,
        UNNEST(parts.rtf_histogram) AS rtf_counts,
        GENERATE_SERIES(1, 1026) AS bin
      FROM (
        SELECT
          workflow_id,
          wall_seconds_histogram,
          rtf_histogram
        FROM rollup.attempt_quantiles_by_workflow_daily_cells
        WHERE
          bucket >= CAST(%(start_0)s AS TIMESTAMPTZ)
          AND bucket < CAST(%(end_0)s AS TIMESTAMPTZ)
      ) AS parts
    ) AS bins
    WHERE
      bins.wall_seconds_counts > 0 OR bins.rtf_counts > 0
    GROUP BY
      workflow_id,
      bin
  ) AS added
  GROUP BY
    workflow_id
) AS answer
LEFT JOIN studio.workflows AS workflow_names
  ON workflow_names.id = answer.workflow_id
ORDER BY
  1;
