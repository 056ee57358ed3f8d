-- What the gateway's role lacks, and what it has too much; no rows where all is as schema/roles.sql leaves it.
-- severity: `fault` keeps the tenant from being served, `warning` is a danger.
WITH required (relation, privilege) AS (
    SELECT relation,
           'SELECT'
      FROM unnest(ARRAY[
               'violations', 'violation_details', 'violation_types', 'ticket_categories', 'locations', 'attachments',
               'vehicles', 'vehicle_drivers', 'vehicle_makes', 'vehicle_colours', 'vehicle_types', 'plate_types',
               'provinces', 'users', 'payments', 'collection_holds', 'api_tokens', 'api_permissions',
               'collection_batches', 'audit_log'
           ]) AS relation
     UNION ALL
    VALUES ('collection_batches', 'INSERT'),
           ('api_tokens', 'INSERT'),
           ('api_permissions', 'INSERT')
),
required_column (relation, name, privilege) AS (
    VALUES ('violations', 'SentToCollections', 'UPDATE'),
           ('collection_batches', 'state', 'UPDATE'),
           ('collection_batches', 'lease_until', 'UPDATE'),
           ('collection_batches', 'released_at', 'UPDATE'),
           ('collection_batches', 'acknowledged_at', 'UPDATE'),
           ('collection_batches', 'voided_at', 'UPDATE'),
           ('collection_batches', 'void_reason', 'UPDATE'),
           ('collection_batches', 'requeued_at', 'UPDATE'),
           ('collection_batches', 'person_ids', 'UPDATE'),
           ('collection_batches', 'replayed_at', 'UPDATE'),
           ('api_tokens', 'expires_at', 'UPDATE'),
           ('api_tokens', 'revoked_at', 'UPDATE'),
           ('api_tokens', 'revoked_by', 'UPDATE'),
           ('api_tokens', 'allowed_addresses', 'UPDATE'),
           ('api_tokens', 'field_profile', 'UPDATE'),
           ('audit_log', 'actor', 'INSERT'),
           ('audit_log', 'action', 'INSERT'),
           ('audit_log', 'object', 'INSERT'),
           ('audit_log', 'reason', 'INSERT'),
           ('audit_log', 'request_id', 'INSERT'),
           ('audit_log', 'detail', 'INSERT')
)
SELECT 'fault' AS severity,
       format('%s lacks %s on %s: run turnpike migrate', current_user, privilege, relation) AS finding
  FROM required
 WHERE NOT has_table_privilege(format('public.%I', relation), privilege)
 UNION ALL
SELECT 'fault',
       format('%s lacks %s of "%s" on %s: run turnpike migrate', current_user, privilege, name, relation)
  FROM required_column
 WHERE NOT has_column_privilege(format('public.%I', relation), name, privilege)
 UNION ALL
SELECT 'fault',
       format('%s lacks EXECUTE on violation_balance: run turnpike migrate', current_user)
 WHERE NOT has_function_privilege(
               'public.violation_balance(numeric, numeric, text, numeric, numeric, numeric)', 'EXECUTE'
           )
 UNION ALL
SELECT 'warning',
       format(
           '%s may change more of violations than "SentToCollections": give the gateway a role of its own, set '
           'owner_database_url, and run turnpike migrate',
           current_user
       )
 WHERE has_column_privilege('public.violations', 'Fine', 'UPDATE')
 UNION ALL
SELECT 'warning',
       format(
           '%s may change what audit_log says: give the gateway a role of its own, set owner_database_url, and run '
           'turnpike migrate',
           current_user
       )
 WHERE has_any_column_privilege('public.audit_log', 'UPDATE')
    OR has_table_privilege('public.audit_log', 'DELETE, TRUNCATE')
    OR has_column_privilege('public.audit_log', 'at', 'INSERT')
 UNION ALL
SELECT 'fault',
       'the server is in recovery and takes no writes: name the primary in database_url'
 WHERE pg_is_in_recovery()
