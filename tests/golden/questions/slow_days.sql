-- metrics
-- start_0: 2026-03-01T00:00:00+00:00
-- end_0: 2026-04-01T00:00:00+00:00
SELECT
  answer.bucket,
  answer.max_queue_wait_seconds,
  "answer"."_queue_wait_seconds_count",
  "answer"."_queue_wait_seconds_max",
  "answer"."_queue_wait_seconds_min"
FROM (
  SELECT
    parts.bucket,
    MAX(parts.queue_wait_seconds_max) AS max_queue_wait_seconds,
    COALESCE(CAST(SUM(parts.queue_wait_seconds_count) AS BIGINT), 0) AS _queue_wait_seconds_count,
    MAX(parts.queue_wait_seconds_max) AS _queue_wait_seconds_max,
    MIN(parts.queue_wait_seconds_min) AS _queue_wait_seconds_min
  FROM (
    SELECT
      DATE_TRUNC('DAY', bucket, 'UTC') AS bucket,
      queue_wait_seconds_count,
      queue_wait_seconds_max,
      queue_wait_seconds_min
    FROM rollup.attempts_by_workflow_daily_cells
    WHERE
      bucket >= CAST(%(start_0)s AS TIMESTAMPTZ)
      AND bucket < CAST(%(end_0)s AS TIMESTAMPTZ)
  ) AS parts
  GROUP BY
    parts.bucket
) AS answer
ORDER BY
  1;

-- histograms
-- start_0: 2026-03-01T00:00:00+00:00
-- end_0: 2026-04-01T00:00:00+00:00
SELECT
  answer.bucket,
  answer.queue_wait_seconds_bins,
  answer.queue_wait_seconds_counts
FROM (
  SELECT
    bucket,
    COALESCE(
      ARRAY_AGG(added.bin ORDER BY added.bin) FILTER(WHERE
        added.queue_wait_seconds_counts > 0),
      '{}'
    ) AS queue_wait_seconds_bins,
    COALESCE(
      ARRAY_AGG(added.queue_wait_seconds_counts ORDER BY added.bin) FILTER(WHERE
        added.queue_wait_seconds_counts > 0),
      '{}'
    ) AS queue_wait_seconds_counts
  FROM (
    SELECT
      bucket,
      bin,
      CAST(SUM(bins.queue_wait_seconds_counts) AS BIGINT) AS queue_wait_seconds_counts
    FROM (
      SELECT
        bucket,
        UNNEST(parts.queue_wait_seconds_histogram) AS queue_wait_seconds_counts,
        GENERATE_SERIES(1, 1026) AS bin
      FROM (
        SELECT
          DATE_TRUNC('DAY', bucket, 'UTC') AS bucket,
          queue_wait_seconds_histogram
        FROM rollup.attempt_quantiles_by_workflow_daily_cells
        WHERE
          bucket >= CAST(%(start_0)s AS TIMESTAMPTZ)
          AND bucket < CAST(%(end_0)s AS TIMESTAMPTZ)
      ) AS parts
    ) AS bins
    WHERE
      bins.queue_wait_seconds_counts > 0
    GROUP BY
      bucket,
      bin
  ) AS added
  GROUP BY
    bucket
) AS answer
ORDER BY
  1;
