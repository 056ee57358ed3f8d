-- Prolongs the lease of a batch that is still open; gives no row where it no longer is.
-- $1 uuid claim_id, $2 double lease in seconds
UPDATE public.collection_batches b
   SET lease_until = statement_timestamp() + make_interval(secs => $2)
 WHERE b.claim_id = $1
   AND b.state = 'open'
RETURNING b.batch_id
