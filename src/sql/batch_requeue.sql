-- Frees a released batch's violations for the next call: those that still carry its mark. The batch stays in the ledger,
-- with who did it and why, and can't be replayed any more. No row: not released, or requeued already.
-- $1 bigint batch_id, $2 text reason, $3 text who, $4 text request id, or null
WITH requeued AS (
    UPDATE public.collection_batches b
       SET requeued_at = statement_timestamp(),
           requeued_by = $3,
           requeue_reason = $2
     WHERE b.batch_id = $1
       AND b.state = 'released'
       AND b.requeued_at IS NULL
    RETURNING b.vendor, b.violation_ids, b.claimed_at
),
freed AS (
    UPDATE public.violations v
       SET "SentToCollections" = NULL
     WHERE v."ViolationID" = ANY (ARRAY(SELECT unnest(requeued.violation_ids) FROM requeued))
       AND v."SentToCollections" = (SELECT requeued.claimed_at FROM requeued)
    RETURNING 1
),
audited AS (
    INSERT INTO public.audit_log (actor, action, object, reason, request_id, detail)
    SELECT $3,
           'batch.requeue',
           'batch ' || $1,
           $2,
           $4,
           jsonb_build_object('vendor', requeued.vendor, 'freed', (SELECT count(*) FROM freed))
      FROM requeued
)
SELECT (SELECT count(*) FROM freed) AS freed
  FROM requeued
