-- open → released, by compare and swap; gives the state in which the batch is now.
-- May be repeated after a lost reply: only its owner ever releases a batch, so `released` is always our own doing.
-- $1 uuid claim_id
WITH swapped AS (
    UPDATE public.collection_batches b
       SET state = 'released',
           released_at = statement_timestamp()
     WHERE b.claim_id = $1
       AND b.state = 'open'
    RETURNING b.state
)
SELECT s.state
  FROM swapped s
 UNION ALL
SELECT b.state
  FROM public.collection_batches b
 WHERE b.claim_id = $1
   AND NOT EXISTS (SELECT FROM swapped)
