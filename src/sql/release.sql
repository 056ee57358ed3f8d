-- open → released, by compare and swap; no row where the batch was voided.
-- May be repeated after a lost reply: only its owner ever releases a batch, so `released` is always our own doing. The
-- repetition writes again instead of merely looking: its commit waits, like the first, for the standby if there is one.
-- $1 uuid claim_id, $2 integer[] UserIDs of the persons whom the answer names
UPDATE public.collection_batches b
   SET state = 'released',
       released_at = COALESCE(b.released_at, statement_timestamp()),
       person_ids = $2
 WHERE b.claim_id = $1
   AND b.state IN ('open', 'released')
RETURNING b.batch_id
