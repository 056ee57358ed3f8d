-- open → void, by compare and swap; unmark.sql gives back the batch's rows, in the same transaction.
-- Where the claim is not in the ledger, its outcome was unknown: a void row takes its place, so that a claim that is
-- still under way somewhere fails on the unique claim_id instead of committing later. One that is about to commit is
-- waited for, and then voided.
-- $1 uuid claim_id, $2 text reason, $3 text which gateway
INSERT INTO public.collection_batches AS b
       (claim_id, state, violation_ids, claimed_at, lease_until, gateway, voided_at, void_reason)
VALUES ($1, 'void', '{}', statement_timestamp(), statement_timestamp(), $3, statement_timestamp(), $2)
    ON CONFLICT (claim_id) DO UPDATE
   SET state = 'void',
       voided_at = statement_timestamp(),
       void_reason = $2
 WHERE b.state = 'open'
