-- Every violation that a claim would hand over now: what a trial compares its vendors' answers with.
-- The conditions and the two halves are those of claim.sql. $1 integer grace_days, $2 numeric minimum_balance, $3 int4[] exclude_categories
SELECT v."ViolationID"
  FROM (
        SELECT * FROM public.violations v WHERE v.held_until IS NULL
         UNION ALL
        SELECT *
          FROM public.violations v
         WHERE v.held_until IS NOT NULL
           AND GREATEST(v."Due", v.held_until) <= statement_timestamp()
       ) AS v
 WHERE v.collectable
   AND v."SentToCollections" IS NULL
   AND v."Due" < statement_timestamp() - make_interval(days => $1)
   AND public.violation_balance(
           v."Fine", v."AdjustedFine", v."AdjustmentReason", v."Towing", v."taxAmount", v.paid_total
       ) > $2
   AND v."TicketType" <> ALL ($3)
