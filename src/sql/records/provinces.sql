-- A look-up table, read whole once a batch; its first column is the key.
SELECT l."ProvID",
       l."ProvName",
       l."Country",
       l."ProvCode",
       l."modified",
       l."payments"
  FROM public.provinces l
