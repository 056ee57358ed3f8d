-- One batch's violations, in the answer's order; a violation that was deleted since has no ticket.
-- $1 bigint batch_id
SELECT b.claim_id,
       b.state,
       item.position,
       item."ViolationID",
       v."Ticket"
  FROM public.collection_batches b
  LEFT JOIN LATERAL unnest(b.violation_ids) WITH ORDINALITY AS item ("ViolationID", position) ON true
  LEFT JOIN public.violations v
    ON v."ViolationID" = item."ViolationID"
 WHERE b.batch_id = $1
 ORDER BY item.position
