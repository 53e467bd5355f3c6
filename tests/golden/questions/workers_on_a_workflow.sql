-- metrics
-- start_0: 2026-03-01T00:00:00+00:00
-- end_0: 2026-04-01T00:00:00+00:00
-- workflow: 1
SELECT
  worker_names.name AS worker,
  workflow_names.name AS workflow,
  answer.avg_gpu_seconds
FROM (
  SELECT
    parts.worker_id,
    parts.workflow_id,
    CAST(SUM(parts.gpu_seconds_sum) AS DOUBLE PRECISION) / NULLIF(COALESCE(CAST(SUM(parts.gpu_seconds_count) AS BIGINT), 0), 0) AS avg_gpu_seconds
  FROM (
    SELECT
      worker_id,
      workflow_id,
      gpu_seconds_count,
      gpu_seconds_sum
    FROM rollup.attempts_by_worker_workflow_daily_cells
    WHERE
      bucket >= CAST(%(start_0)s AS TIMESTAMPTZ)
      AND bucket < CAST(%(end_0)s AS TIMESTAMPTZ)
      AND workflow_id = ANY(
        CAST(%(workflow)s AS INT[])
      )
  ) AS parts
  GROUP BY
    parts.worker_id,
    parts.workflow_id
) AS answer
LEFT JOIN studio.workers AS worker_names
  ON worker_names.id = answer.worker_id
LEFT JOIN studio.workflows AS workflow_names
  ON workflow_names.id = answer.workflow_id
ORDER BY
  1,
  2;
