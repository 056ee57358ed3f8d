-- What the gateway's role lacks, and what it has too much; no rows where all is as schema/roles.sql leaves it.
-- severity: `fault` keeps the tenant from being served, `warning` is a danger.
WITH required (relation, privilege) AS (
    SELECT relation,
           'SELECT'
      FROM unnest(ARRAY[
               'violations', 'violation_details', 'violation_types', 'ticket_categories', 'locations', 'attachments',
               'vehicles', 'vehicle_drivers', 'vehicle_makes', 'vehicle_colours', 'vehicle_types', 'plate_types',
               'provinces', 'users', 'payments', 'collection_holds', 'api_tokens', 'api_permissions',
               'collection_batches'
           ]) AS relation
     UNION ALL
    VALUES ('collection_batches', 'INSERT'),
           ('api_tokens', 'INSERT'),
           ('api_permissions', 'INSERT')
),
required_column (relation, name) AS (
    VALUES ('violations', 'SentToCollections'),
           ('collection_batches', 'state'),
           ('collection_batches', 'lease_until'),
           ('collection_batches', 'released_at'),
           ('collection_batches', 'acknowledged_at'),
           ('collection_batches', 'voided_at'),
           ('collection_batches', 'void_reason'),
           ('collection_batches', 'requeued_at'),
           ('collection_batches', 'person_ids'),
           ('collection_batches', 'replayed_at'),
           ('api_tokens', 'expires_at'),
           ('api_tokens', 'revoked_at'),
           ('api_tokens', 'revoked_by')
)
SELECT 'fault' AS severity,
       format('%s lacks %s on %s: run turnpike migrate', current_user, privilege, relation) AS finding
  FROM required
 WHERE NOT has_table_privilege(format('public.%I', relation), privilege)
 UNION ALL
SELECT 'fault',
       format('%s lacks UPDATE of "%s" on %s: run turnpike migrate', current_user, name, relation)
  FROM required_column
 WHERE NOT has_column_privilege(format('public.%I', relation), name, 'UPDATE')
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
SELECT 'fault',
       'the server is in recovery and takes no writes: name the primary in database_url'
 WHERE pg_is_in_recovery()
