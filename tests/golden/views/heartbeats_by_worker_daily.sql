SELECT heartbeats_by_worker_daily_cells.bucket,
    heartbeats_by_worker_daily_cells.worker_id,
    heartbeats_by_worker_daily_cells.heartbeat_count,
    heartbeats_by_worker_daily_cells.newest_recorded_at,
    heartbeats_by_worker_daily_cells.covered_seconds_sum,
    heartbeats_by_worker_daily_cells.generating_seconds_sum,
    heartbeats_by_worker_daily_cells.idle_seconds_sum,
    heartbeats_by_worker_daily_cells.offline_seconds_sum
   FROM rollup.heartbeats_by_worker_daily_cells
  WHERE NOT (heartbeats_by_worker_daily_cells.bucket IN ( SELECT time_bucket('1 day'::interval, touched_buckets.bucket, 'UTC'::text) AS bucket
           FROM ops.touched_buckets
          WHERE touched_buckets.source = 'heartbeats'::text AND touched_buckets.bucket >= (( SELECT retention.raw_from
                   FROM ops.retention))
        UNION ALL
         SELECT touched_days.bucket
           FROM ops.touched_days
          WHERE touched_days.source = 'heartbeats'::text AND touched_days.bucket >= (( SELECT retention.raw_from
                   FROM ops.retention))
        UNION ALL
         SELECT pending_buckets.bucket
           FROM ops.pending_buckets
          WHERE pending_buckets.rollup = 'heartbeats_by_worker_daily'::text))
UNION ALL
 SELECT touched.bucket,
    computed.worker_id,
    computed.heartbeat_count,
    computed.newest_recorded_at,
    computed.covered_seconds_sum,
    computed.generating_seconds_sum,
    computed.idle_seconds_sum,
    computed.offline_seconds_sum
   FROM ( WITH marks AS MATERIALIZED (
                 SELECT time_bucket('1 day'::interval, touched_buckets.bucket, 'UTC'::text) AS bucket
                   FROM ops.touched_buckets
                  WHERE touched_buckets.source = 'heartbeats'::text AND touched_buckets.bucket >= (( SELECT retention.raw_from
                           FROM ops.retention))
                UNION ALL
                 SELECT touched_days.bucket
                   FROM ops.touched_days
                  WHERE touched_days.source = 'heartbeats'::text AND touched_days.bucket >= (( SELECT retention.raw_from
                           FROM ops.retention))
                UNION ALL
                 SELECT pending_buckets.bucket
                   FROM ops.pending_buckets
                  WHERE pending_buckets.rollup = 'heartbeats_by_worker_daily'::text
                )
         SELECT DISTINCT marks.bucket
           FROM marks) touched
     CROSS JOIN LATERAL ( SELECT time_bucket('1 day'::interval, heartbeats_by_worker_fine.bucket, 'UTC'::text) AS bucket,
            heartbeats_by_worker_fine.worker_id,
            sum(heartbeats_by_worker_fine.heartbeat_count)::bigint AS heartbeat_count,
            max(heartbeats_by_worker_fine.newest_recorded_at) AS newest_recorded_at,
            sum(heartbeats_by_worker_fine.covered_seconds_sum) AS covered_seconds_sum,
            sum(heartbeats_by_worker_fine.generating_seconds_sum) AS generating_seconds_sum,
            sum(heartbeats_by_worker_fine.idle_seconds_sum) AS idle_seconds_sum,
            sum(heartbeats_by_worker_fine.offline_seconds_sum) AS offline_seconds_sum
           FROM rollup.heartbeats_by_worker_fine
          WHERE heartbeats_by_worker_fine.bucket >= touched.bucket AND heartbeats_by_worker_fine.bucket < time_bucket('1 day'::interval, touched.bucket + '36:00:00'::interval, 'UTC'::text)
          GROUP BY (time_bucket('1 day'::interval, heartbeats_by_worker_fine.bucket, 'UTC'::text)), heartbeats_by_worker_fine.worker_id) computed;
