SELECT heartbeats_by_worker_fine_cells.bucket,
    heartbeats_by_worker_fine_cells.worker_id,
    heartbeats_by_worker_fine_cells.heartbeat_count,
    heartbeats_by_worker_fine_cells.newest_recorded_at,
    heartbeats_by_worker_fine_cells.covered_seconds_sum,
    heartbeats_by_worker_fine_cells.generating_seconds_sum,
    heartbeats_by_worker_fine_cells.idle_seconds_sum,
    heartbeats_by_worker_fine_cells.offline_seconds_sum
   FROM rollup.heartbeats_by_worker_fine_cells
  WHERE NOT (heartbeats_by_worker_fine_cells.bucket IN ( SELECT touched_buckets.bucket
           FROM ops.touched_buckets
          WHERE touched_buckets.source = 'heartbeats'::text AND touched_buckets.bucket >= (( SELECT retention.raw_from
                   FROM ops.retention))
        UNION ALL
         SELECT pending_buckets.bucket
           FROM ops.pending_buckets
          WHERE pending_buckets.rollup = 'heartbeats_by_worker_fine'::text))
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
                 SELECT touched_buckets.bucket
                   FROM ops.touched_buckets
                  WHERE touched_buckets.source = 'heartbeats'::text AND touched_buckets.bucket >= (( SELECT retention.raw_from
                           FROM ops.retention))
                UNION ALL
                 SELECT pending_buckets.bucket
                   FROM ops.pending_buckets
                  WHERE pending_buckets.rollup = 'heartbeats_by_worker_fine'::text
                )
         SELECT DISTINCT marks.bucket
           FROM marks) touched
     CROSS JOIN LATERAL ( SELECT time_bucket('00:15:00'::interval, worker_heartbeats.covered_from) AS bucket,
            worker_heartbeats.worker_id,
            count(*) AS heartbeat_count,
            max(worker_heartbeats.recorded_at) AS newest_recorded_at,
            sum(worker_heartbeats.covered_seconds) AS covered_seconds_sum,
            sum(worker_heartbeats.covered_seconds) FILTER (WHERE worker_heartbeats.state = 'generating'::text) AS generating_seconds_sum,
            sum(worker_heartbeats.covered_seconds) FILTER (WHERE worker_heartbeats.state = 'idle'::text) AS idle_seconds_sum,
            sum(worker_heartbeats.covered_seconds) FILTER (WHERE worker_heartbeats.state = 'offline'::text) AS offline_seconds_sum
           FROM telemetry.worker_heartbeats
          WHERE worker_heartbeats.covered_from >= touched.bucket AND worker_heartbeats.covered_from < (touched.bucket + '00:15:00'::interval)
          GROUP BY (time_bucket('00:15:00'::interval, worker_heartbeats.covered_from)), worker_heartbeats.worker_id) computed;
