-- Unmarks exactly a void batch's rows that still carry its mark. Follows void.sql in its transaction, as a statement of its
-- own: void.sql may have waited for the claim to commit, and its snapshot is from before the claim's marks.
-- $1 uuid claim_id
UPDATE public.violations v
   SET "SentToCollections" = NULL
 WHERE v."ViolationID" = ANY (ARRAY(
           SELECT unnest(b.violation_ids)
             FROM public.collection_batches b
            WHERE b.claim_id = $1
              AND b.state = 'void'
       ))
   AND v."SentToCollections" = (
           SELECT b.claimed_at
             FROM public.collection_batches b
            WHERE b.claim_id = $1
              AND b.state = 'void'
       )
