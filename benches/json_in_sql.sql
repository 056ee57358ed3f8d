-- The peer: the whole document built inside PostgreSQL by one statement, as an API in front of the database does it.
-- Every look-up has its index; json, not jsonb, because jsonb loses the order of keys.
SELECT json_build_object('records', COALESCE(json_agg(row_to_json(record)), '[]'::json))::text
  FROM (
    SELECT v."ViolationID", v."SemPermitID", v."Ticket", v."VehicleID", v."Spoiled", v."TicketType", v."Issued", v."convNotice", v."Due", v."ViolationTypeID", v."Fine", v."AdjustedFine", v."Towing", v."taxAmount"::text AS "taxAmount", v."Writer", v."LocationID", v."Comment", v."TicketAppeal", v."appealType", v."appealFormat", v."AccessAdminID", v."ActionedPer", v."Created", v."AppealUserID", v."AppealProcessDate", v."AppealAdminID", v."AppealComment", v."AppealAdminComment", v."AutoNotice", v."ProcessedByCollection", NULL::timestamptz AS "SentToCollections", v."PrivateComments", v."DriveAway", v."UUID", v."VioNotice", v."latitude", v."longitude", v."Warning", v."userid", v."incidentID", v."failToIdentify", v."pin", v."duplicate", v."AdjustmentReason",
           (SELECT row_to_json(x) FROM (SELECT u."UserID", u."enabled", u."salutation", u."firstName", u."middleName", u."lastName", u."username", u."email", u."street", u."city", u."prov", u."postal", u."street2", u."city2", u."prov2", u."postal2", u."phonecell", u."status", u."UserTypeID", u."employNo", u."deptNameID", u."ePhone", u."staffFacultyFlag", u."studentNo", u."sPhone", u."sPhone2", u."lastUpdated", u."created", u."privateComment", u."publicComment", u."DLNum", u."DOB", u."StaffMailPermit", u."ExtendedID", u."UserUUID", u."CampusBox", u."newEmail", u."ReadOnlyUserID", u."studentNo_int", u."employNo_int", u."StuCampusLocation", u."EmpCampusLocation", u."MailPermitTo", u."isCloudAccount", u."lastSelfUpdated", u."emailConsent", u."T2P_reminders", u."reminderTime", u."lockerUserTypeID", u."encid", u."preferredname", u."plateAlert", u."peopleAlert", u."salt", u."forcePasswordChange", u."lastpasswordchange", u."DLprov", u."loginSource", u."company_id", u."taxexemption", u."company_manager", u."receives_invoice", u."account_number", u."company_bill_recipient", u."kais_employer", u."kais_building", u."kais_supervisor_name", u."kais_supervisor_title", u."register_token", u."api_token", u."modified", u."bambora_customer_code", u."language", u."preferred_communication_method" FROM public.users u WHERE u."UserID" = v.userid) x) AS "user",
           (SELECT row_to_json(x) FROM (
               SELECT c."VehicleID", c."Active", c."lastUpdate", c."Plate", c."PlateTypeID", c."ProvID", c."MakeID", c."TypeID", c."ColourID", c."Year", c."TotalVio", c."TotalUnpaid", c."TotalWarning", c."created", c."externallookupdate", c."externallookupRequestID", c."modified", c."vehicleAlert", c."vin",
                      (SELECT COALESCE(json_agg(row_to_json(y)), '[]'::json) FROM (
                          SELECT u."UserID", u."enabled", u."salutation", u."firstName", u."middleName", u."lastName", u."username", u."email", u."street", u."city", u."prov", u."postal", u."street2", u."city2", u."prov2", u."postal2", u."phonecell", u."status", u."UserTypeID", u."employNo", u."deptNameID", u."ePhone", u."staffFacultyFlag", u."studentNo", u."sPhone", u."sPhone2", u."lastUpdated", u."created", u."privateComment", u."publicComment", u."DLNum", u."DOB", u."StaffMailPermit", u."ExtendedID", u."UserUUID", u."CampusBox", u."newEmail", u."ReadOnlyUserID", u."studentNo_int", u."employNo_int", u."StuCampusLocation", u."EmpCampusLocation", u."MailPermitTo", u."isCloudAccount", u."lastSelfUpdated", u."emailConsent", u."T2P_reminders", u."reminderTime", u."lockerUserTypeID", u."encid", u."preferredname", u."plateAlert", u."peopleAlert", u."salt", u."forcePasswordChange", u."lastpasswordchange", u."DLprov", u."loginSource", u."company_id", u."taxexemption", u."company_manager", u."receives_invoice", u."account_number", u."company_bill_recipient", u."kais_employer", u."kais_building", u."kais_supervisor_name", u."kais_supervisor_title", u."register_token", u."api_token", u."modified", u."bambora_customer_code", u."language", u."preferred_communication_method", d."VehicleID" AS laravel_through_key
                            FROM public.vehicle_drivers d JOIN public.users u ON u."UserID" = d."UserID"
                           WHERE d."VehicleID" = c."VehicleID"
                           ORDER BY d.primary_driver DESC, u."UserID") y) AS drivers,
                      (SELECT row_to_json(x) FROM (SELECT l."MakeID", l."MakeName", l."modified" FROM public.vehicle_makes l WHERE l."MakeID" = c."MakeID") x) AS make,
                      (SELECT row_to_json(x) FROM (SELECT l."ColourID", l."ColourName", l."ColourKey", l."modified" FROM public.vehicle_colours l WHERE l."ColourID" = c."ColourID") x) AS colour,
                      (SELECT row_to_json(x) FROM (SELECT l."TypeID", l."TypeName", l."modified" FROM public.vehicle_types l WHERE l."TypeID" = c."TypeID") x) AS vehicle_type,
                      (SELECT row_to_json(x) FROM (SELECT l."TypeID", l."TypeName", l."modified", l."typeCode" FROM public.plate_types l WHERE l."TypeID" = c."PlateTypeID") x) AS plate_type,
                      (SELECT row_to_json(x) FROM (SELECT l."ProvID", l."ProvName", l."Country", l."ProvCode", l."modified", l."payments" FROM public.provinces l WHERE l."ProvID" = c."ProvID") x) AS province
                 FROM public.vehicles c WHERE c."VehicleID" = v."VehicleID") x) AS vehicle,
           (SELECT row_to_json(x) FROM (SELECT l."LocationID", l."LocationName", l."WriterVisible", l."GisNo", l."modified" FROM public.locations l WHERE l."LocationID" = v."LocationID") x) AS location,
           (SELECT COALESCE(json_agg(row_to_json(x)), '[]'::json) FROM (
               SELECT d."ViolationsDetailID", d."ViolationID", d."Ticket", d."ViolationTypeID", d."LocationID", d."offenceFine", d."discountFlag", d."discountAmount", d."discountHours", d."created",
                      (SELECT row_to_json(x) FROM (SELECT l."ViolationTypeID", l."ViolationDescr", l."DefaultCost", l."created", l."discountFlag", l."discountAmount", l."discountHours", l."adminOnly", l."violationkey", l."modified", l."category_id", l."adjustable", l."bylawcode" FROM public.violation_types l WHERE l."ViolationTypeID" = d."ViolationTypeID") x) AS type
                 FROM public.violation_details d WHERE d."ViolationID" = v."ViolationID"
                ORDER BY d."ViolationsDetailID") x) AS details,
           (SELECT COALESCE(json_agg(row_to_json(x)), '[]'::json) FROM (
               SELECT a."attachID", a."storageLocation", a."attachName", a."attachExt", a."attachMime", a."relatedType", a."relatedID", a."relatedNote", a."created", a."archived", a."uniqueid"
                 FROM public.attachments a
                WHERE a."relatedType" = 'VIOLATIONS' AND a."relatedID" = v."ViolationID"
                ORDER BY a."attachID") x) AS attachments,
           (SELECT row_to_json(x) FROM (SELECT l."TicketTypeID", l."TicketTypeName", l."HandHeldVisible", l."modified", l."archived", l."appliesTo", l."enableFailToIdentify" FROM public.ticket_categories l WHERE l."TicketTypeID" = v."TicketType") x) AS category
      FROM public.violations v
     WHERE v.collectable
       AND v."SentToCollections" IS NULL
       AND v."Due" < now()
     ORDER BY v."Due", v."ViolationID"
  ) AS record
