-- One row per line of Segment: a line with a fault cannot be read, one with an event type is an event for each block.
WITH parsed AS (
    SELECT row_number, raw, text, sound, json_transform(sound, '{line}') AS message
    FROM (SELECT *, CASE WHEN json_valid(text) THEN text END AS sound FROM lines)
), typed AS (
    SELECT *, message.properties AS p, lower(message.type) AS type,
        CASE WHEN lower(message.type) = 'track' THEN translate(lower({event}), ' _-', '') END AS event_name
    FROM parsed
), looked_up AS (
    SELECT *, {meanings}[enum_code(try_cast(event_name AS {names}))::INTEGER + 1] AS meaning FROM typed
), resolved AS (
    SELECT *, coalesce(meaning.many, false) AS many, coalesce(meaning.reads, false) AS reads,
        coalesce({product}) IS NOT NULL AS names_product, coalesce(len(p.products), 0) AS entries,
        CASE WHEN type IN ('page', 'screen') THEN {page_item} END AS page_item
    FROM looked_up
), checked AS (
    SELECT *, {ids}, {context}, {answers} AS answers,
        -- `sound` is the text if it is valid JSON, so functions on it cannot fail.
        CASE
        WHEN sound IS NULL THEN {not_json}
        WHEN type IS NULL THEN CASE WHEN json_type(sound) = 'OBJECT' THEN 'type_missing' ELSE 'not_an_object' END
        WHEN type NOT IN {types} THEN 'type_unknown'
        WHEN type = 'track' AND event_name IS NULL THEN 'event_missing'
        WHEN reads AND p.products IS NULL AND (many OR NOT names_product) THEN CASE
            WHEN json_type(sound, '$.properties') NOT IN ('OBJECT', 'NULL') THEN 'properties_not_an_object'
            WHEN json_type(sound, '$.properties.products') NOT IN ('ARRAY', 'NULL') THEN 'products_not_a_list'
        END END AS fault
    FROM resolved
)
SELECT row_number, fault, CASE WHEN fault IS NOT NULL THEN sha256(raw) END AS sha256,
    coalesce(meaning.kind, CASE type WHEN 'track' THEN 'unknown_event' ELSE type END) AS kind,
    coalesce(known_id, anonymous_id) AS user_id, known_id, anonymous_id,
    known_id IS NULL AND anonymous_id IS NOT NULL AS is_device,
    previous_id,
    coalesce(message_id, CASE WHEN fault IS NULL THEN 'sha256:' || left(sha256(raw), 32) END) AS message_id,
    {occurred_at} AS occurred_at, {received_at} AS received_at,
    {consent} AS consent, entries AS listed, message.traits,
    visit, user_agent, ip, meaning.id_first,
    CASE WHEN fault IS NOT NULL OR meaning.event_type = 'impression' AND NOT names_product AND entries = 0 THEN NULL
         WHEN page_item IS NOT NULL THEN '{visit}' ELSE meaning.event_type END AS event_type,
    CASE WHEN fault IS NOT NULL THEN NULL
         WHEN page_item IS NOT NULL THEN [struct_pack({page})]
         WHEN NOT reads THEN NULL
         WHEN entries > 0 AND (many OR NOT names_product) THEN p.products
         ELSE [struct_pack({own})] END AS blocks,
    struct_pack({whole}) AS whole
FROM checked
