-- One database for each of the demo's tenants. Only the owner and the gateway may enter it.
-- Each statement is sent alone: CREATE DATABASE runs in no transaction block.

CREATE DATABASE oc_toma OWNER turnpike_owner;
REVOKE ALL ON DATABASE oc_toma FROM PUBLIC;
GRANT CONNECT ON DATABASE oc_toma TO turnpike;

CREATE DATABASE northern_u OWNER turnpike_owner;
REVOKE ALL ON DATABASE northern_u FROM PUBLIC;
GRANT CONNECT ON DATABASE northern_u TO turnpike;

CREATE DATABASE city_of_elm OWNER turnpike_owner;
REVOKE ALL ON DATABASE city_of_elm FROM PUBLIC;
GRANT CONNECT ON DATABASE city_of_elm TO turnpike;
