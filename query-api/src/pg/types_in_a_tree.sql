WITH asked AS (SELECT * FROM pg_catalog.pg_type WHERE oid = ANY($1))
SELECT oid, 'pg_catalog' AS ns, typname AS name, typtype AS kind, NULL::bigint AS basetype,
       nullif(typelem, 0) AS elemtype, typdelim AS elemdelim, NULL::bigint AS range_subtype,
       NULL AS attrtypoids, NULL AS attrnames, depth, NULL AS basetype_name, NULL AS elemtype_name,
       NULL AS range_subtype_name
FROM (SELECT *, 0 AS depth FROM asked
      UNION ALL
      SELECT *, 1 AS depth FROM pg_catalog.pg_type WHERE oid IN (SELECT typelem FROM asked))
ORDER BY depth DESC
