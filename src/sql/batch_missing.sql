-- How many of a batch's violations were deleted since.
-- $1 uuid claim_id
SELECT count(*) AS missing
  FROM public.collection_batches b
 CROSS JOIN LATERAL unnest(b.violation_ids) AS item ("ViolationID")
  LEFT JOIN public.violations v
    ON v."ViolationID" = item."ViolationID"
 WHERE b.claim_id = $1
   AND v."ViolationID" IS NULL
