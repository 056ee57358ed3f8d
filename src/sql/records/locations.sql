-- A look-up table, read whole once a batch; its first column is the key.
SELECT l."LocationID",
       l."LocationName",
       l."WriterVisible",
       l."GisNo",
       l."modified"
  FROM public.locations l
