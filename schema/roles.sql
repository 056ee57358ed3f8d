-- What the gateway's own role may do, and no more. Run it as the schema's owner, after every migration:
--
--     psql -d oc_toma -f schema/roles.sql
--     PGOPTIONS='-c turnpike.gateway_role=gateway' psql -d oc_toma -f schema/roles.sql
--
-- The role must exist (CREATE ROLE turnpike LOGIN PASSWORD '...'): roles belong to the whole server, not to this
-- database, so none is made here. Each run first takes everything away, so a run also narrows what an earlier
-- version of this file granted. All in one DO block: one statement, hence one transaction.

DO $$
DECLARE
    gateway_role CONSTANT text := COALESCE(NULLIF(current_setting('turnpike.gateway_role', true), ''), 'turnpike');

    readable text[] := ARRAY[
        'violations', 'violation_details', 'violation_types', 'ticket_categories', 'locations', 'attachments',
        'vehicles', 'vehicle_drivers', 'vehicle_makes', 'vehicle_colours', 'vehicle_types', 'plate_types', 'provinces',
        'users',
        'payments', 'collection_holds',
        'api_tokens', 'api_permissions',
        'collection_batches',
        'audit_log'
    ];
    table_name text;
BEGIN
    -- Two runs at once would fail with "tuple concurrently updated".
    PERFORM pg_advisory_xact_lock(hashtextextended('turnpike.roles', 0));

    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = gateway_role) THEN
        RAISE EXCEPTION 'role "%" does not exist', gateway_role
            USING HINT = 'Create it first, or name another one in the setting turnpike.gateway_role.';
    END IF;

    IF EXISTS (
        SELECT
        FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_roles AS r ON r.oid = c.relowner
        WHERE c.oid = 'public.violations'::regclass
        AND r.rolname = gateway_role
    ) THEN
        RAISE EXCEPTION 'role "%" owns the schema, so its rights cannot be narrowed', gateway_role
            USING HINT = 'Give the gateway a role of its own, and keep the owner for owner_database_url.';
    END IF;

    -- The migrations' own table: `turnpike check` reads it; it is absent where they were applied by hand.
    IF to_regclass('public.refinery_schema_history') IS NOT NULL THEN
        readable := array_append(readable, 'refinery_schema_history');
    END IF;

    REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    EXECUTE format('REVOKE ALL ON SCHEMA public FROM %I', gateway_role);
    EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', gateway_role);

    -- Revoking a table's privileges revokes its columns' with them.
    FOREACH table_name IN ARRAY readable LOOP
        EXECUTE format('REVOKE ALL ON TABLE public.%I FROM %I', table_name, gateway_role);
        EXECUTE format('GRANT SELECT ON TABLE public.%I TO %I', table_name, gateway_role);
    END LOOP;

    -- Claim, release and void. Identity columns need no right on their sequences.
    EXECUTE format('GRANT UPDATE ("SentToCollections") ON TABLE public.violations TO %I', gateway_role);
    EXECUTE format('GRANT INSERT ON TABLE public.collection_batches TO %I', gateway_role);
    EXECUTE format(
        'GRANT UPDATE (state, lease_until, released_at, acknowledged_at, voided_at, void_reason,'
        ' requeued_at, requeued_by, requeue_reason, person_ids, replayed_at)'
        ' ON TABLE public.collection_batches TO %I',
        gateway_role
    );

    -- Issue, rotate, change and revoke. A token is never deleted: the ledger refers to it.
    EXECUTE format('GRANT INSERT ON TABLE public.api_tokens, public.api_permissions TO %I', gateway_role);
    EXECUTE format(
        'GRANT UPDATE (revoked_at, revoked_by, expires_at, allowed_addresses, field_profile)'
        ' ON TABLE public.api_tokens TO %I',
        gateway_role
    );

    -- Insert alone, and neither the time nor the role: those are the database's own word.
    EXECUTE format(
        'GRANT INSERT (actor, action, object, reason, request_id, detail) ON TABLE public.audit_log TO %I',
        gateway_role
    );

    EXECUTE format(
        'GRANT EXECUTE ON FUNCTION public.violation_balance(numeric, numeric, text, numeric, numeric, numeric) TO %I',
        gateway_role
    );
END
$$;
