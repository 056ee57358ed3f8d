-- $1 bytea SHA-256 of the benchmark's token
WITH token AS (
    INSERT INTO public.api_tokens (token_sha256, vendor, field_profile)
    VALUES ($1, 'Bench', 'full')
    RETURNING token_id
)
INSERT INTO public.api_permissions (token_id, action, resource)
SELECT token_id,
       'user-create',
       'violation_collection'
  FROM token
