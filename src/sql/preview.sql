-- What claim.sql would hand over, in its order and from the same two halves, with nothing locked, marked or written.
-- Always gives one row; violation_ids is null where the caller may not call.
-- $1 bytea   SHA-256 of the token        $2 inet    the caller's address
-- $3 integer grace_days                  $4 numeric minimum_balance
-- $5 int4[]  exclude_categories          $6 bigint  most records, null: all
WITH caller AS MATERIALIZED (
    SELECT t.token_id,
           t.field_profile,
           EXISTS (
               SELECT
                 FROM public.api_permissions p
                WHERE p.token_id = t.token_id
                  AND p.action = 'user-create'
                  AND p.resource = 'violation_collection'
           ) AS permitted
      FROM public.api_tokens t
     WHERE t.token_sha256 = $1
       AND t.revoked_at IS NULL
       AND (t.expires_at IS NULL OR t.expires_at > statement_timestamp())
       AND (t.allowed_addresses IS NULL OR $2 <<= ANY (t.allowed_addresses))
),
never_held AS MATERIALIZED (
    SELECT v."ViolationID",
           v."Due"
      FROM public.violations v
     WHERE v.collectable
       AND v."SentToCollections" IS NULL
       AND v.held_until IS NULL
       AND v."Due" < statement_timestamp() - make_interval(days => $3)
       AND public.violation_balance(
               v."Fine", v."AdjustedFine", v."AdjustmentReason", v."Towing", v."taxAmount", v.paid_total
           ) > $4
       AND v."TicketType" <> ALL ($5)
       AND (SELECT c.permitted FROM caller c)
     ORDER BY v."Due", v."ViolationID"
     LIMIT $6 + 1
),
once_held AS MATERIALIZED (
    SELECT v."ViolationID",
           v."Due"
      FROM public.violations v
     WHERE v.collectable
       AND v."SentToCollections" IS NULL
       AND v.held_until IS NOT NULL
       AND GREATEST(v."Due", v.held_until) <= statement_timestamp()
       AND v."Due" < statement_timestamp() - make_interval(days => $3)
       AND public.violation_balance(
               v."Fine", v."AdjustedFine", v."AdjustmentReason", v."Towing", v."taxAmount", v.paid_total
           ) > $4
       AND v."TicketType" <> ALL ($5)
       AND (SELECT c.permitted FROM caller c)
     ORDER BY v."Due", v."ViolationID"
     LIMIT $6 + 1
),
eligible AS MATERIALIZED (
    SELECT n."ViolationID",
           n."Due"
      FROM never_held n
     UNION ALL
    SELECT o."ViolationID",
           o."Due"
      FROM once_held o
)
SELECT c.token_id IS NOT NULL AS authenticated,
       COALESCE(c.permitted, false) AS permitted,
       c.field_profile,
       ARRAY(SELECT e."ViolationID" FROM eligible e ORDER BY e."Due", e."ViolationID" LIMIT $6) AS violation_ids,
       (SELECT count(*) FROM eligible) > $6 AS more
  FROM (VALUES (1)) AS always (one)
  LEFT JOIN caller c ON true
