-- Voids every batch whose lease is over, and unmarks exactly its rows that still carry its mark.
-- The compare and swap on `state` fences an owner that wakes up late: it can no longer release.
-- Says how many it voided, and how many are open whose lease isn't over: a sweep must look at those again.
-- $1 text reason
WITH expired AS (
    UPDATE public.collection_batches b
       SET state = 'void',
           voided_at = statement_timestamp(),
           void_reason = $1
     WHERE b.state = 'open'
       AND b.lease_until <= statement_timestamp()
    RETURNING b.violation_ids, b.claimed_at
),
unmarked AS (
    -- Arrays, not joins: nothing is expired as a rule, and then nothing must be scanned, whatever the planner believes.
    UPDATE public.violations v
       SET "SentToCollections" = NULL
     WHERE v."ViolationID" = ANY (ARRAY(SELECT unnest(e.violation_ids) FROM expired e))
       AND v."SentToCollections" = ANY (ARRAY(SELECT e.claimed_at FROM expired e))
)
SELECT (SELECT count(*) FROM expired) AS voided,
       (
           SELECT count(*)
             FROM public.collection_batches b
            WHERE b.state = 'open'
              AND b.lease_until > statement_timestamp()
       ) AS still_open
