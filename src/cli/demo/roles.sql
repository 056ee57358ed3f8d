-- The demo's two roles. Their passwords come as settings, so that they are in no statement and no log:
--
--     PGOPTIONS='-c demo.owner_password=a -c demo.gateway_password=b' psql -f src/cli/demo/roles.sql

DO $$
BEGIN
    EXECUTE format('CREATE ROLE turnpike_owner LOGIN PASSWORD %L', current_setting('demo.owner_password'));
    EXECUTE format('CREATE ROLE turnpike LOGIN PASSWORD %L', current_setting('demo.gateway_password'));
END
$$;
