-- Records an action that no statement of ours does in this database, such as a pause.
-- $1 text who, $2 text action, $3 text object, $4 text why, or null, $5 text request id, or null, $6 text detail, as JSON
INSERT INTO public.audit_log (actor, action, object, reason, request_id, detail)
VALUES ($1, $2, $3, $4, $5, $6::text::jsonb)
