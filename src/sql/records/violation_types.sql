-- A look-up table, read whole once a batch; its first column is the key.
SELECT l."ViolationTypeID",
       l."ViolationDescr",
       l."DefaultCost",
       l."created",
       l."discountFlag",
       l."discountAmount",
       l."discountHours",
       l."adminOnly",
       l."violationkey",
       l."modified",
       l."category_id",
       l."adjustable",
       l."bylawcode"
  FROM public.violation_types l
