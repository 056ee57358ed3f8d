-- open → released, by compare and swap; no row where the batch was voided.
-- May be repeated after a lost reply: only its owner ever releases a batch, so `released` is always our own doing. The
-- repetition writes again instead of merely looking: its commit waits, like the first, for the standby if there is one.
-- $1 uuid claim_id
UPDATE public.collection_batches b
   SET state = 'released',
       released_at = COALESCE(b.released_at, statement_timestamp())
 WHERE b.claim_id = $1
   AND b.state IN ('open', 'released')
RETURNING b.batch_id
