-- $1 integer[] VehicleIDs of a chunk
SELECT v."VehicleID",
       v."Active",
       v."lastUpdate",
       v."Plate",
       v."PlateTypeID",
       v."ProvID",
       v."MakeID",
       v."TypeID",
       v."ColourID",
       v."Year",
       v."TotalVio",
       v."TotalUnpaid",
       v."TotalWarning",
       v."created",
       v."externallookupdate",
       v."externallookupRequestID",
       v."modified",
       v."vehicleAlert",
       v."vin"
  FROM public.vehicles v
 WHERE v."VehicleID" = ANY ($1)
