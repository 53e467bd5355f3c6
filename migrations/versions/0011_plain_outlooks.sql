-- An estimate reads a hundred outlooks: decompressing them took it longer than all else that it asks the database.
-- Those that are there stay compressed until they are learnt again.
alter table ops.forecasts alter column outlook set storage external;

comment on column ops.commitments.finished_at is 'When all segments of each of its scenes were found to be made.';
