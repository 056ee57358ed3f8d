-- The form that Hasura generates: each relation a LEFT OUTER JOIN LATERAL, each object row_to_json of a one-row subquery, each
-- array coalesce(json_agg(… ORDER BY …), '[]'). Dates and numbers have PostgreSQL's form, not the wire's.
SELECT coalesce(json_agg(root ORDER BY due, violation_id), '[]')::text AS root
  FROM (
    SELECT row_to_json((
               SELECT e
                 FROM (
                     SELECT base."ViolationID",
                            base."SemPermitID",
                            base."Ticket",
                            base."VehicleID",
                            base."Spoiled",
                            base."TicketType",
                            base."Issued",
                            base."convNotice",
                            base."Due",
                            base."ViolationTypeID",
                            base."Fine",
                            base."AdjustedFine",
                            base."Towing",
                            base."taxAmount",
                            base."Writer",
                            base."LocationID",
                            base."Comment",
                            base."TicketAppeal",
                            base."appealType",
                            base."appealFormat",
                            base."AccessAdminID",
                            base."ActionedPer",
                            base."Created",
                            base."AppealUserID",
                            base."AppealProcessDate",
                            base."AppealAdminID",
                            base."AppealComment",
                            base."AppealAdminComment",
                            base."AutoNotice",
                            base."ProcessedByCollection",
                            base."SentToCollections",
                            base."PrivateComments",
                            base."DriveAway",
                            base."UUID",
                            base."VioNotice",
                            base."latitude",
                            base."longitude",
                            base."Warning",
                            base."userid",
                            base."incidentID",
                            base."failToIdentify",
                            base."pin",
                            base."duplicate",
                            base."AdjustmentReason",
                            user_or."user",
                            vehicle_or.vehicle,
                            location_or.location,
                            details_ar.details,
                            attachments_ar.attachments,
                            category_or.category
                 ) AS e
           )) AS root,
           base."Due" AS due,
           base."ViolationID" AS violation_id
      FROM (
          SELECT *
            FROM public.violations
           WHERE collectable
             AND "SentToCollections" IS NULL
             AND "Due" < now()
      ) AS base
      LEFT OUTER JOIN LATERAL (
          SELECT row_to_json((
                     SELECT e
                       FROM (
                           SELECT b1."UserID",
                                  b1."enabled",
                                  b1."salutation",
                                  b1."firstName",
                                  b1."middleName",
                                  b1."lastName",
                                  b1."username",
                                  b1."email",
                                  b1."street",
                                  b1."city",
                                  b1."prov",
                                  b1."postal",
                                  b1."street2",
                                  b1."city2",
                                  b1."prov2",
                                  b1."postal2",
                                  b1."phonecell",
                                  b1."status",
                                  b1."UserTypeID",
                                  b1."employNo",
                                  b1."deptNameID",
                                  b1."ePhone",
                                  b1."staffFacultyFlag",
                                  b1."studentNo",
                                  b1."sPhone",
                                  b1."sPhone2",
                                  b1."lastUpdated",
                                  b1."created",
                                  b1."privateComment",
                                  b1."publicComment",
                                  b1."DLNum",
                                  b1."DOB",
                                  b1."StaffMailPermit",
                                  b1."ExtendedID",
                                  b1."UserUUID",
                                  b1."CampusBox",
                                  b1."newEmail",
                                  b1."ReadOnlyUserID",
                                  b1."studentNo_int",
                                  b1."employNo_int",
                                  b1."StuCampusLocation",
                                  b1."EmpCampusLocation",
                                  b1."MailPermitTo",
                                  b1."isCloudAccount",
                                  b1."lastSelfUpdated",
                                  b1."emailConsent",
                                  b1."T2P_reminders",
                                  b1."reminderTime",
                                  b1."lockerUserTypeID",
                                  b1."encid",
                                  b1."preferredname",
                                  b1."plateAlert",
                                  b1."peopleAlert",
                                  b1."salt",
                                  b1."forcePasswordChange",
                                  b1."lastpasswordchange",
                                  b1."DLprov",
                                  b1."loginSource",
                                  b1."company_id",
                                  b1."taxexemption",
                                  b1."company_manager",
                                  b1."receives_invoice",
                                  b1."account_number",
                                  b1."company_bill_recipient",
                                  b1."kais_employer",
                                  b1."kais_building",
                                  b1."kais_supervisor_name",
                                  b1."kais_supervisor_title",
                                  b1."register_token",
                                  b1."api_token",
                                  b1."modified",
                                  b1."bambora_customer_code",
                                  b1."language",
                                  b1."preferred_communication_method"
                       ) AS e
                 )) AS "user"
            FROM (SELECT * FROM public.users WHERE "UserID" = base.userid LIMIT 1) AS b1
      ) AS user_or ON true
      LEFT OUTER JOIN LATERAL (
          SELECT row_to_json((
                     SELECT e
                       FROM (
                           SELECT b1."VehicleID",
                                  b1."Active",
                                  b1."lastUpdate",
                                  b1."Plate",
                                  b1."PlateTypeID",
                                  b1."ProvID",
                                  b1."MakeID",
                                  b1."TypeID",
                                  b1."ColourID",
                                  b1."Year",
                                  b1."TotalVio",
                                  b1."TotalUnpaid",
                                  b1."TotalWarning",
                                  b1."created",
                                  b1."externallookupdate",
                                  b1."externallookupRequestID",
                                  b1."modified",
                                  b1."vehicleAlert",
                                  b1."vin",
                                  drivers_ar.drivers,
                                  make_or.make,
                                  colour_or.colour,
                                  vehicle_type_or.vehicle_type,
                                  plate_type_or.plate_type,
                                  province_or.province
                       ) AS e
                 )) AS "vehicle"
            FROM (SELECT * FROM public.vehicles WHERE "VehicleID" = base."VehicleID" LIMIT 1) AS b1
          LEFT OUTER JOIN LATERAL (
              SELECT coalesce(json_agg(item ORDER BY primary_driver DESC, user_id), '[]') AS drivers
                FROM (
                    SELECT row_to_json((
                               SELECT e
                                 FROM (
                                     SELECT b2."UserID",
                                            b2."enabled",
                                            b2."salutation",
                                            b2."firstName",
                                            b2."middleName",
                                            b2."lastName",
                                            b2."username",
                                            b2."email",
                                            b2."street",
                                            b2."city",
                                            b2."prov",
                                            b2."postal",
                                            b2."street2",
                                            b2."city2",
                                            b2."prov2",
                                            b2."postal2",
                                            b2."phonecell",
                                            b2."status",
                                            b2."UserTypeID",
                                            b2."employNo",
                                            b2."deptNameID",
                                            b2."ePhone",
                                            b2."staffFacultyFlag",
                                            b2."studentNo",
                                            b2."sPhone",
                                            b2."sPhone2",
                                            b2."lastUpdated",
                                            b2."created",
                                            b2."privateComment",
                                            b2."publicComment",
                                            b2."DLNum",
                                            b2."DOB",
                                            b2."StaffMailPermit",
                                            b2."ExtendedID",
                                            b2."UserUUID",
                                            b2."CampusBox",
                                            b2."newEmail",
                                            b2."ReadOnlyUserID",
                                            b2."studentNo_int",
                                            b2."employNo_int",
                                            b2."StuCampusLocation",
                                            b2."EmpCampusLocation",
                                            b2."MailPermitTo",
                                            b2."isCloudAccount",
                                            b2."lastSelfUpdated",
                                            b2."emailConsent",
                                            b2."T2P_reminders",
                                            b2."reminderTime",
                                            b2."lockerUserTypeID",
                                            b2."encid",
                                            b2."preferredname",
                                            b2."plateAlert",
                                            b2."peopleAlert",
                                            b2."salt",
                                            b2."forcePasswordChange",
                                            b2."lastpasswordchange",
                                            b2."DLprov",
                                            b2."loginSource",
                                            b2."company_id",
                                            b2."taxexemption",
                                            b2."company_manager",
                                            b2."receives_invoice",
                                            b2."account_number",
                                            b2."company_bill_recipient",
                                            b2."kais_employer",
                                            b2."kais_building",
                                            b2."kais_supervisor_name",
                                            b2."kais_supervisor_title",
                                            b2."register_token",
                                            b2."api_token",
                                            b2."modified",
                                            b2."bambora_customer_code",
                                            b2."language",
                                            b2."preferred_communication_method",
                                            link."VehicleID" AS laravel_through_key
                                 ) AS e
                           )) AS item,
                           link.primary_driver,
                           b2."UserID" AS user_id
                      FROM (SELECT * FROM public.vehicle_drivers WHERE "VehicleID" = b1."VehicleID") AS link
                      JOIN public.users b2 ON b2."UserID" = link."UserID"
                ) AS items
          ) AS drivers_ar ON true
          LEFT OUTER JOIN LATERAL (
              SELECT row_to_json((
                         SELECT e
                           FROM (
                               SELECT b2."MakeID",
                                      b2."MakeName",
                                      b2."modified"
                           ) AS e
                     )) AS "make"
                FROM (SELECT * FROM public.vehicle_makes WHERE "MakeID" = b1."MakeID" LIMIT 1) AS b2
          ) AS make_or ON true
          LEFT OUTER JOIN LATERAL (
              SELECT row_to_json((
                         SELECT e
                           FROM (
                               SELECT b2."ColourID",
                                      b2."ColourName",
                                      b2."ColourKey",
                                      b2."modified"
                           ) AS e
                     )) AS "colour"
                FROM (SELECT * FROM public.vehicle_colours WHERE "ColourID" = b1."ColourID" LIMIT 1) AS b2
          ) AS colour_or ON true
          LEFT OUTER JOIN LATERAL (
              SELECT row_to_json((
                         SELECT e
                           FROM (
                               SELECT b2."TypeID",
                                      b2."TypeName",
                                      b2."modified"
                           ) AS e
                     )) AS "vehicle_type"
                FROM (SELECT * FROM public.vehicle_types WHERE "TypeID" = b1."TypeID" LIMIT 1) AS b2
          ) AS vehicle_type_or ON true
          LEFT OUTER JOIN LATERAL (
              SELECT row_to_json((
                         SELECT e
                           FROM (
                               SELECT b2."TypeID",
                                      b2."TypeName",
                                      b2."modified",
                                      b2."typeCode"
                           ) AS e
                     )) AS "plate_type"
                FROM (SELECT * FROM public.plate_types WHERE "TypeID" = b1."PlateTypeID" LIMIT 1) AS b2
          ) AS plate_type_or ON true
          LEFT OUTER JOIN LATERAL (
              SELECT row_to_json((
                         SELECT e
                           FROM (
                               SELECT b2."ProvID",
                                      b2."ProvName",
                                      b2."Country",
                                      b2."ProvCode",
                                      b2."modified",
                                      b2."payments"
                           ) AS e
                     )) AS "province"
                FROM (SELECT * FROM public.provinces WHERE "ProvID" = b1."ProvID" LIMIT 1) AS b2
          ) AS province_or ON true
      ) AS vehicle_or ON true
      LEFT OUTER JOIN LATERAL (
          SELECT row_to_json((
                     SELECT e
                       FROM (
                           SELECT b1."LocationID",
                                  b1."LocationName",
                                  b1."WriterVisible",
                                  b1."GisNo",
                                  b1."modified"
                       ) AS e
                 )) AS "location"
            FROM (SELECT * FROM public.locations WHERE "LocationID" = base."LocationID" LIMIT 1) AS b1
      ) AS location_or ON true
      LEFT OUTER JOIN LATERAL (
          SELECT coalesce(json_agg(item ORDER BY detail_id), '[]') AS details
            FROM (
                SELECT row_to_json((
                           SELECT e
                             FROM (
                                 SELECT b1."ViolationsDetailID",
                                        b1."ViolationID",
                                        b1."Ticket",
                                        b1."ViolationTypeID",
                                        b1."LocationID",
                                        b1."offenceFine",
                                        b1."discountFlag",
                                        b1."discountAmount",
                                        b1."discountHours",
                                        b1."created",
                                        type_or.type
                             ) AS e
                       )) AS item,
                       b1."ViolationsDetailID" AS detail_id
                  FROM (SELECT * FROM public.violation_details WHERE "ViolationID" = base."ViolationID") AS b1
                LEFT OUTER JOIN LATERAL (
                    SELECT row_to_json((
                               SELECT e
                                 FROM (
                                     SELECT b2."ViolationTypeID",
                                            b2."ViolationDescr",
                                            b2."DefaultCost",
                                            b2."created",
                                            b2."discountFlag",
                                            b2."discountAmount",
                                            b2."discountHours",
                                            b2."adminOnly",
                                            b2."violationkey",
                                            b2."modified",
                                            b2."category_id",
                                            b2."adjustable",
                                            b2."bylawcode"
                                 ) AS e
                           )) AS "type"
                      FROM (SELECT * FROM public.violation_types WHERE "ViolationTypeID" = b1."ViolationTypeID" LIMIT 1) AS b2
                ) AS type_or ON true
            ) AS items
      ) AS details_ar ON true
      LEFT OUTER JOIN LATERAL (
          SELECT coalesce(json_agg(item ORDER BY attachment_id), '[]') AS attachments
            FROM (
                SELECT row_to_json((
                           SELECT e
                             FROM (
                                 SELECT b1."attachID",
                                        b1."storageLocation",
                                        b1."attachName",
                                        b1."attachExt",
                                        b1."attachMime",
                                        b1."relatedType",
                                        b1."relatedID",
                                        b1."relatedNote",
                                        b1."created",
                                        b1."archived",
                                        b1."uniqueid"
                             ) AS e
                       )) AS item,
                       b1."attachID" AS attachment_id
                  FROM (
                      SELECT *
                        FROM public.attachments
                       WHERE "relatedType" = 'VIOLATIONS'
                         AND "relatedID" = base."ViolationID"
                  ) AS b1
            ) AS items
      ) AS attachments_ar ON true
      LEFT OUTER JOIN LATERAL (
          SELECT row_to_json((
                     SELECT e
                       FROM (
                           SELECT b1."TicketTypeID",
                                  b1."TicketTypeName",
                                  b1."HandHeldVisible",
                                  b1."modified",
                                  b1."archived",
                                  b1."appliesTo",
                                  b1."enableFailToIdentify"
                       ) AS e
                 )) AS "category"
            FROM (SELECT * FROM public.ticket_categories WHERE "TicketTypeID" = base."TicketType" LIMIT 1) AS b1
      ) AS category_or ON true
  ) AS root
