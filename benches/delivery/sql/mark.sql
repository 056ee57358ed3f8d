-- What a peer must do beside building the document, in the same transaction: mark what it hands over. It keeps no ledger.
UPDATE public.violations v
   SET "SentToCollections" = now()
 WHERE v.collectable
   AND v."SentToCollections" IS NULL
   AND v."Due" < now()
