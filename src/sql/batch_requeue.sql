-- Frees a released batch's violations for the next call: those that still carry its mark. The batch stays in the ledger,
-- with who did it and why, and can't be replayed any more. No row: not released, or requeued already.
-- $1 bigint batch_id, $2 text actor, $3 text reason
WITH requeued AS (
    UPDATE public.collection_batches b
       SET requeued_at = statement_timestamp(),
           requeued_by = $2,
           requeue_reason = $3
     WHERE b.batch_id = $1
       AND b.state = 'released'
       AND b.requeued_at IS NULL
    RETURNING b.violation_ids, b.claimed_at
),
freed AS (
    UPDATE public.violations v
       SET "SentToCollections" = NULL
     WHERE v."ViolationID" = ANY (ARRAY(SELECT unnest(requeued.violation_ids) FROM requeued))
       AND v."SentToCollections" = (SELECT requeued.claimed_at FROM requeued)
    RETURNING 1
)
SELECT (SELECT count(*) FROM freed) AS freed
  FROM requeued
