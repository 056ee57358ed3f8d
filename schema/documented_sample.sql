-- The record of the documentation's sample answer, contract/sample-response.json, for an empty migrated database:
--
--     psql -v ON_ERROR_STOP=1 -d oc_toma -f schema/documented_sample.sql
--
-- A claim on it answers the documented record. What is null there is left out here.

BEGIN;

INSERT INTO public.vehicle_makes (
    "MakeID", "MakeName", "modified"
)
VALUES (
    13, 'Chevrolet', '2020-10-15T20:13:11.000000Z'
);

INSERT INTO public.vehicle_colours (
    "ColourID", "ColourName", "modified"
)
VALUES (
    14, 'Red', '2020-10-15T20:13:08.000000Z'
);

INSERT INTO public.vehicle_types (
    "TypeID", "TypeName", "modified"
)
VALUES (
    5, 'Compact', '2020-10-15T20:13:13.000000Z'
);

INSERT INTO public.plate_types (
    "TypeID", "TypeName", "modified", "typeCode"
)
VALUES (
    4, 'Passenger', '2022-04-15T20:58:56.000000Z', 'passenger'
);

INSERT INTO public.provinces (
    "ProvID", "ProvName", "Country", "ProvCode", "modified", "payments"
)
VALUES (
    9, 'Ontario', 1, 'ON', '2022-08-30T21:54:10.000000Z', 1
);

INSERT INTO public.locations (
    "LocationID", "LocationName", "WriterVisible", "GisNo", "modified"
)
VALUES (
    6, 'Downtown Business District', 1, 0, '2020-10-15T20:04:19.000000Z'
);

INSERT INTO public.ticket_categories (
    "TicketTypeID", "TicketTypeName", "HandHeldVisible", "modified", "appliesTo", "enableFailToIdentify"
)
VALUES (
    2, 'Municipal', 0, '2020-10-15T20:12:51.000000Z', 1, 0
);

INSERT INTO public.violation_types (
    "ViolationTypeID", "ViolationDescr", "DefaultCost", "created", "discountFlag", "discountAmount", "discountHours",
    "adminOnly", "modified", "category_id", "adjustable", "bylawcode"
)
VALUES (
    9, 'Parked in Loading Zone', 50, '2020-10-15T20:13:41.000000Z', true, 10, 168, false,
    '2020-10-15T20:13:41.000000Z', 1, false, 'BL-78'
);

INSERT INTO public.users (
    "UserID", "salutation", "firstName", "lastName", "username", "email", "street", "city", "prov", "postal",
    "phonecell", "status", "UserTypeID", "employNo", "staffFacultyFlag", "lastUpdated", "created", "DLNum", "DOB",
    "StaffMailPermit", "UserUUID", "MailPermitTo", "encid", "plateAlert", "peopleAlert", "salt",
    "forcePasswordChange", "DLprov", "loginSource", "modified", "language"
)
VALUES (
    73, 'Dr.', 'stephen_14Oct_1114', 'stephen_14Oct_1114', 'stephen_14Oct_1114', 'stephen_14Oct_1114@test',
    '1234 Main Street', 'Ottawa', 9, 'H0H0H0', '6135551212', 1, 7, 'staff12341115', 0, '2022-08-29T21:31:12.000000Z',
    '2020-10-15T20:12:57.000000Z', 'DL 123451114', '2020-10-14T04:00:00.000000Z', 0,
    '42c5d253-2f06-4ab6-9090-969333c25da6', 'Permanent Mailing Address', 'A063AA9AC458DA5581FC777ADC9875FF', 0, 0,
    '85cf3dbb-54de-48e3-a2d1-0b312dd4cea8', 1, 66, 'OPSCOM', '2022-08-29T21:36:24.000000Z', 'fr'
);

INSERT INTO public.vehicles (
    "VehicleID", "Active", "lastUpdate", "Plate", "PlateTypeID", "ProvID", "MakeID", "TypeID", "ColourID", "Year",
    "TotalVio", "TotalUnpaid", "TotalWarning", "created", "modified"
)
VALUES (
    8, 1, '2020-10-15T20:13:03.000000Z', 'AJNR123', 4, 9, 13, 5, 14, 2006, 0, 0, 0, '2020-10-15T20:13:03.000000Z',
    '2022-03-16T21:36:09.000000Z'
);

INSERT INTO public.vehicle_drivers ("VehicleID", "UserID", primary_driver, created)
VALUES (8, 73, true, '2020-10-15T20:13:03.000000Z');

INSERT INTO public.violations (
    "ViolationID", "SemPermitID", "Ticket", "VehicleID", "Spoiled", "TicketType", "Issued", "Due", "ViolationTypeID",
    "Fine", "AdjustedFine", "Towing", "taxAmount", "Writer", "LocationID", "appealType", "AccessAdminID", "Created",
    "AppealUserID", "AppealAdminID", "AutoNotice", "DriveAway", "UUID"
)
VALUES (
    9, 0, '1-100013', 8, 0, 2, '2016-05-03T20:00:00.000000Z', '2016-05-23T20:00:00.000000Z', -1, 50, 0, 0, '0.0000',
    8, 6, 0, 7, '2020-10-15T20:13:24.000000Z', 0, 0, 2, 0, 'd9a1c8bb-4ed1-411e-91b1-0b63ba52e04d'
);

INSERT INTO public.violation_details (
    "ViolationsDetailID", "ViolationID", "Ticket", "ViolationTypeID", "LocationID", "offenceFine", "discountFlag",
    "discountAmount", "discountHours", "created"
)
VALUES (
    10, 9, '1-100013', 9, 6, 50, 1, 10, 168, '2020-10-15T20:13:33.000000Z'
);

INSERT INTO public.attachments (
    "attachID", "storageLocation", "attachName", "attachExt", "attachMime", "relatedType", "relatedID", "relatedNote",
    "created", "uniqueid"
)
VALUES (
    1, 'oc_tomahawk/VIOLATIONS/2022/08/23/index-debf76b6.png', 'index-debf76b6', 'png', 'image/png', 'VIOLATIONS', 9,
    '1-100013', '2022-08-23T18:48:36.000000Z', '70756a09-550e-433d-b6f4-75b0bfdcef60'
);

INSERT INTO public.attachments (
    "attachID", "storageLocation", "attachName", "attachExt", "attachMime", "relatedType", "relatedID", "relatedNote",
    "created", "uniqueid"
)
VALUES (
    2, 'oc_tomahawk/VIOLATIONS/2022/08/23/index-b11529e8.png', 'index-b11529e8', 'png', 'image/png', 'VIOLATIONS', 9,
    '1-100013', '2022-08-23T20:55:23.000000Z', '079541cf-302e-4c42-a2cf-38665643d364'
);

-- Numbers given by hand do not move the sequences: the next INSERT without one would collide.
DO $$
DECLARE
    key record;
BEGIN
    FOR key IN
        SELECT
            a.attrelid::regclass::text AS table_name,
            a.attname AS column_name
        FROM pg_catalog.pg_attribute AS a
        JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'public'::regnamespace
        AND a.attidentity = 'd'
    LOOP
        EXECUTE format(
            'SELECT setval(pg_get_serial_sequence(%L, %L), max(t.%I)) FROM %s AS t HAVING max(t.%I) IS NOT NULL',
            key.table_name, key.column_name, key.column_name, key.table_name, key.column_name
        );
    END LOOP;
END
$$;

COMMIT;
