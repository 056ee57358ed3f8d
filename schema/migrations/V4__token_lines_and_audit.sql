-- Tokens that take over from each other, and the record of what operators did.
--
-- A gateway of the version before may go on meanwhile: its statements name their columns, and none of those changes. What
-- it issues starts a line of its own; what its operators do isn't recorded here. The lock on api_tokens is held for as long
-- as it takes to write that table anew, which is small.

-- A token and what it was rotated to are one line: they have their batches and idempotency keys in common.
ALTER TABLE public.api_tokens
    ADD COLUMN rotated_from bigint REFERENCES public.api_tokens,
    -- Null: it starts a line.
    ADD COLUMN first_token_id bigint REFERENCES public.api_tokens,
    ADD COLUMN token_line bigint NOT NULL GENERATED ALWAYS AS (COALESCE(first_token_id, token_id)) STORED,
    ADD CHECK ((rotated_from IS NULL) = (first_token_id IS NULL));

CREATE INDEX api_tokens_line ON public.api_tokens (token_line);

CREATE INDEX api_tokens_rotated_from ON public.api_tokens (rotated_from) WHERE rotated_from IS NOT NULL;

-- Who did what to tokens, batches and the tenant, written by the statement that did it. The gateway's role may add to it,
-- and can't choose a time; it can neither change nor delete (schema/roles.sql).
CREATE TABLE public.audit_log (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz(6) NOT NULL DEFAULT statement_timestamp(),
    -- The operating system's user, or the operator's subject; a person as a rule, where `role` is the gateway's.
    actor text NOT NULL CHECK (actor <> ''),
    role text NOT NULL DEFAULT session_user,
    action text NOT NULL CHECK (action <> ''),
    -- What it was done to: 'token 5', 'batch 12', 'tenant'.
    object text NOT NULL CHECK (object <> ''),
    reason text,
    request_id text,
    -- What the action set; never a token, nor its hash.
    detail jsonb NOT NULL DEFAULT '{}'
);

CREATE INDEX audit_log_object ON public.audit_log (object, audit_id DESC);
