-- Unmarks exactly a void batch's rows that still carry its mark, and tells the batch's state.
-- A statement of its own, after the swap: void.sql may have waited for the claim to commit, and its own snapshot would not
-- see the marks that the claim made. May be repeated.
-- $1 uuid claim_id
WITH voided AS (
    SELECT b.violation_ids,
           b.claimed_at
      FROM public.collection_batches b
     WHERE b.claim_id = $1
       AND b.state = 'void'
),
unmarked AS (
    UPDATE public.violations v
       SET "SentToCollections" = NULL
     WHERE v."ViolationID" = ANY (ARRAY(SELECT unnest(voided.violation_ids) FROM voided))
       AND v."SentToCollections" = (SELECT voided.claimed_at FROM voided)
)
SELECT b.state
  FROM public.collection_batches b
 WHERE b.claim_id = $1
