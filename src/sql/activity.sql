-- How a tenant is doing: what the next call would get, when there was a call last, and what is under way. Two halves, as in claim.sql.
-- $1 integer grace_days, $2 numeric minimum_balance, $3 int4[] exclude_categories, $4 bigint count up to this
WITH eligible AS MATERIALIZED (
    SELECT
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
     LIMIT $4
)
SELECT (SELECT count(*) FROM eligible) AS eligible,
       (
           SELECT b.claimed_at
             FROM public.collection_batches b
            WHERE b.token_id IS NOT NULL
            ORDER BY b.batch_id DESC
            LIMIT 1
       ) AS last_claim_at,
       (SELECT count(*) FROM public.collection_batches b WHERE b.state = 'open') AS open_batches
