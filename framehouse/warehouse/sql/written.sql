-- What a writer tells of its batch, and how it is heard. The channel stands in no other place.

-- name: tell
-- Delivered when the transaction is committed, and never if it is not.
select pg_notify('framehouse_written', %s);

-- name: listen
listen framehouse_written;
