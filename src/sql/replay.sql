-- Notes that a released batch is handed over again, and whom the answer names beside those of the first one.
-- No row where it was requeued meanwhile.
-- $1 uuid claim_id, $2 integer[] UserIDs of the persons whom the answer names
UPDATE public.collection_batches b
   SET replayed_at = statement_timestamp(),
       person_ids = CASE
           WHEN b.person_ids @> $2 THEN b.person_ids
           ELSE ARRAY(SELECT DISTINCT unnest(b.person_ids || $2) ORDER BY 1)
       END
 WHERE b.claim_id = $1
   AND b.state = 'released'
   AND b.requeued_at IS NULL
RETURNING b.batch_id
