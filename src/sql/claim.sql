-- Checks the caller again, marks every eligible violation and writes it to the ledger as one open batch.
-- Always gives one row; batch_id is null where nothing was eligible or the caller may not claim.
-- $1 bytea   SHA-256 of the token       $2 inet    the caller's address
-- $3 uuid    claim_id, made by us       $4 integer grace_days
-- $5 numeric minimum_balance            $6 int4[]  exclude_categories
-- $7 bigint  most records, null: all    $8 double  lease in seconds
-- $9 text    which gateway              $10 text   request id
WITH caller AS MATERIALIZED (
    SELECT t.token_id,
           t.vendor,
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
-- MATERIALIZED: without it a nested loop was seen to lock and mark more rows than LIMIT says.
-- NO KEY UPDATE: a back office that inserts a payment or a detail holds KEY SHARE on the row, which is no reason to skip.
-- SKIP LOCKED: a violation that is being changed right now is left for the next call, not waited for.
-- READ COMMITTED rechecks a changed row on the locked table alone, so every condition is a column of `violations`.
due AS MATERIALIZED (
    SELECT v."ViolationID",
           v."Due"
      FROM public.violations v
     WHERE v.collectable
       AND v."SentToCollections" IS NULL
       AND v."Due" < statement_timestamp() - make_interval(days => $4)
       AND (v.held_until IS NULL OR v.held_until <= statement_timestamp())
       AND public.violation_balance(
               v."Fine", v."AdjustedFine", v."AdjustmentReason", v."Towing", v."taxAmount", v.paid_total
           ) > $5
       AND v."TicketType" <> ALL ($6)
       AND (SELECT c.permitted FROM caller c)
     ORDER BY v."Due", v."ViolationID"
     LIMIT $7
       FOR NO KEY UPDATE OF v SKIP LOCKED
),
batch AS (
    INSERT INTO public.collection_batches
           (claim_id, token_id, vendor, field_profile, state, violation_ids, claimed_at, lease_until, gateway, request_id)
    SELECT $3,
           c.token_id,
           c.vendor,
           c.field_profile,
           'open',
           ARRAY(SELECT d."ViolationID" FROM due d ORDER BY d."Due", d."ViolationID"),
           statement_timestamp(),
           statement_timestamp() + make_interval(secs => $8),
           $9,
           $10
      FROM caller c
     WHERE EXISTS (SELECT FROM due)
    RETURNING batch_id, record_count
),
-- The mark is the batch's claimed_at: a void unmarks only what still carries it.
-- An array, not a join: whatever the planner believes of `due`, it finds the rows by their key and never scans the table.
marked AS (
    UPDATE public.violations v
       SET "SentToCollections" = statement_timestamp()
     WHERE v."ViolationID" = ANY (ARRAY(SELECT d."ViolationID" FROM due d))
    RETURNING 1
)
-- The division fails, and with it the claim, should a trigger of the institution's have kept a row from being marked:
-- such a row would be handed out again and again.
SELECT c.token_id IS NOT NULL AS authenticated,
       COALESCE(c.permitted, false) AS permitted,
       c.field_profile,
       b.batch_id,
       b.record_count / ((SELECT count(*) FROM marked) = b.record_count)::integer AS record_count
  FROM (VALUES (1)) AS always (one)
  LEFT JOIN caller c ON true
  LEFT JOIN batch b ON true
