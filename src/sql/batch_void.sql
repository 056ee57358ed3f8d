-- An operator gives an open batch back: open → void by compare and swap, and exactly its rows that still carry its mark are
-- unmarked. No row: not open. One statement, unlike void.sql: whoever sees the batch here sees its claim's marks as well.
-- $1 bigint batch_id, $2 text reason, $3 text who, $4 text request id, or null
WITH voided AS (
    UPDATE public.collection_batches b
       SET state = 'void',
           voided_at = statement_timestamp(),
           void_reason = $2
     WHERE b.batch_id = $1
       AND b.state = 'open'
    RETURNING b.vendor, b.violation_ids, b.claimed_at
),
unmarked AS (
    UPDATE public.violations v
       SET "SentToCollections" = NULL
     WHERE v."ViolationID" = ANY (ARRAY(SELECT unnest(voided.violation_ids) FROM voided))
       AND v."SentToCollections" = (SELECT voided.claimed_at FROM voided)
    RETURNING 1
),
audited AS (
    INSERT INTO public.audit_log (actor, action, object, reason, request_id, detail)
    SELECT $3,
           'batch.void',
           'batch ' || $1,
           $2,
           $4,
           jsonb_build_object('vendor', voided.vendor, 'freed', (SELECT count(*) FROM unmarked))
      FROM voided
)
SELECT (SELECT count(*) FROM unmarked) AS freed
  FROM voided
