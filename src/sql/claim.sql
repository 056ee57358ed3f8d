-- Checks the caller again, marks eligible violations and writes them to the ledger as one open batch.
-- Always gives one row. batch_id is null where nothing was eligible or the caller may not claim; where the idempotency
-- key was used before, it is the batch that it made, whose state is told, and nothing is marked.
-- $1  bytea   SHA-256 of the token       $2  inet    the caller's address
-- $3  uuid    claim_id, made by us       $4  integer grace_days
-- $5  numeric minimum_balance            $6  int4[]  exclude_categories
-- $7  bigint  most records, null: all    $8  double  lease in seconds
-- $9  text    which gateway              $10 text    request id
-- $11 text    idempotency key, or null   $12 double  how long a key is remembered, in seconds
WITH caller AS MATERIALIZED (
    SELECT t.token_id,
           t.token_line,
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
       AND NOT t.sandbox
       AND t.revoked_at IS NULL
       AND (t.expires_at IS NULL OR t.expires_at > statement_timestamp())
       AND (t.allowed_addresses IS NULL OR $2 <<= ANY (t.allowed_addresses))
),
-- What the key made before, with this token or with one of its line: a rotation must not come between a request and its
-- repetition. Claims of one tenant come one after the other, so no two can both find nothing.
earlier AS MATERIALIZED (
    SELECT b.batch_id,
           b.claim_id,
           b.state,
           b.record_count,
           b.violation_ids,
           b.record_limit
      FROM public.collection_batches b
     WHERE b.token_id = ANY (
               ARRAY(SELECT l.token_id FROM caller c JOIN public.api_tokens l ON l.token_line = c.token_line)
           )
       AND b.idempotency_key = $11
       AND b.claimed_at > statement_timestamp() - make_interval(secs => $12)
       AND b.state <> 'void'
       AND b.requeued_at IS NULL
     ORDER BY b.batch_id DESC
     LIMIT 1
),
-- One more than may be taken, to know whether there are more; of a repeated request, which takes none, one will do.
-- Two halves, because each has an index that holds nothing else: those that were never on hold by `"Due"`, read no further than
-- the limit, and those whose hold is over, few, by the moment from which they may be handed over.
-- MATERIALIZED: without it a nested loop was seen to lock and mark more rows than LIMIT says.
-- NO KEY UPDATE: a back office that inserts a payment or a detail holds KEY SHARE on the row, which is no reason to skip.
-- SKIP LOCKED: a violation that is being changed right now is left for the next call, not waited for.
-- READ COMMITTED rechecks a changed row on the locked table alone, so every condition is a column of `violations`.
never_held AS MATERIALIZED (
    SELECT v."ViolationID",
           v."Due"
      FROM public.violations v
     WHERE v.collectable
       AND v."SentToCollections" IS NULL
       AND v.held_until IS NULL
       AND v."Due" < statement_timestamp() - make_interval(days => $4)
       AND public.violation_balance(
               v."Fine", v."AdjustedFine", v."AdjustmentReason", v."Towing", v."taxAmount", v.paid_total
           ) > $5
       AND v."TicketType" <> ALL ($6)
       AND (SELECT c.permitted FROM caller c)
     ORDER BY v."Due", v."ViolationID"
     LIMIT CASE WHEN EXISTS (SELECT FROM earlier) THEN 1 ELSE $7 + 1 END
       FOR NO KEY UPDATE OF v SKIP LOCKED
),
once_held AS MATERIALIZED (
    SELECT v."ViolationID",
           v."Due"
      FROM public.violations v
     WHERE v.collectable
       AND v."SentToCollections" IS NULL
       AND v.held_until IS NOT NULL
       AND GREATEST(v."Due", v.held_until) <= statement_timestamp()
       AND v."Due" < statement_timestamp() - make_interval(days => $4)
       AND public.violation_balance(
               v."Fine", v."AdjustedFine", v."AdjustmentReason", v."Towing", v."taxAmount", v.paid_total
           ) > $5
       AND v."TicketType" <> ALL ($6)
       AND (SELECT c.permitted FROM caller c)
     ORDER BY v."Due", v."ViolationID"
     LIMIT CASE WHEN EXISTS (SELECT FROM earlier) THEN 1 ELSE $7 + 1 END
       FOR NO KEY UPDATE OF v SKIP LOCKED
),
eligible AS MATERIALIZED (
    SELECT n."ViolationID",
           n."Due"
      FROM never_held n
     UNION ALL
    SELECT o."ViolationID",
           o."Due"
      FROM once_held o
),
taken AS MATERIALIZED (
    SELECT e."ViolationID",
           e."Due"
      FROM eligible e
     WHERE NOT EXISTS (SELECT FROM earlier)
     ORDER BY e."Due", e."ViolationID"
     LIMIT $7
),
batch AS (
    INSERT INTO public.collection_batches
           (claim_id, token_id, vendor, field_profile, state, violation_ids, claimed_at, lease_until, gateway, request_id,
            idempotency_key, record_limit)
    SELECT $3,
           c.token_id,
           c.vendor,
           c.field_profile,
           'open',
           ARRAY(SELECT t."ViolationID" FROM taken t ORDER BY t."Due", t."ViolationID"),
           statement_timestamp(),
           statement_timestamp() + make_interval(secs => $8),
           $9,
           $10,
           $11,
           $7
      FROM caller c
     WHERE EXISTS (SELECT FROM taken)
    RETURNING batch_id, claim_id, state, record_count, violation_ids, record_limit
),
-- The mark is the batch's claimed_at: a void unmarks only what still carries it.
-- An array, not a join: whatever the planner believes of `taken`, it finds the rows by their key and never scans the table.
marked AS (
    UPDATE public.violations v
       SET "SentToCollections" = statement_timestamp()
     WHERE v."ViolationID" = ANY (ARRAY(SELECT t."ViolationID" FROM taken t))
    RETURNING 1
)
-- The division fails, and with it the claim, should a trigger of the institution's have kept a row from being marked:
-- such a row would be handed out again and again.
SELECT c.token_id IS NOT NULL AS authenticated,
       COALESCE(c.permitted, false) AS permitted,
       c.field_profile,
       told.batch_id,
       told.claim_id,
       told.state,
       told.record_count,
       told.violation_ids,
       told.record_limit,
       told.again,
       (SELECT count(*) FROM eligible) > $7 * (NOT told.again)::integer AS more
  FROM (VALUES (1)) AS always (one)
  LEFT JOIN caller c ON true
  LEFT JOIN (
        SELECT b.batch_id,
               b.claim_id,
               b.state,
               b.record_count / ((SELECT count(*) FROM marked) = b.record_count)::integer AS record_count,
               b.violation_ids,
               b.record_limit,
               false AS again
          FROM batch b
         UNION ALL
        SELECT e.batch_id,
               e.claim_id,
               e.state,
               e.record_count,
               e.violation_ids,
               e.record_limit,
               true
          FROM earlier e
       ) AS told ON true
