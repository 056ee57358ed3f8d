-- A release that is lost in a crash of PostgreSQL would be handed out twice: commits must be durable whatever the
-- database's or the role's default. A stronger setting than `on` is kept.
SELECT set_config('synchronous_commit', 'on', false)
 WHERE current_setting('synchronous_commit') IN ('off', 'local')
