-- Tells roles.sql whom to grant to.
-- $1 text the gateway's role
SELECT set_config('turnpike.gateway_role', $1, false)
