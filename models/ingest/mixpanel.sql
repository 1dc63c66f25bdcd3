-- One row per line of Mixpanel, with the columns that one of Segment has.
WITH parsed AS (
    SELECT row_number, raw, text, sound, {event} AS event,
        coalesce(json_extract(sound, '/properties'), json_extract(sound, '/$properties')) AS p,
        coalesce(json_type(sound, '/$properties') = 'OBJECT', false) AND json_extract(sound, '/event') IS NULL
            AS profile
    FROM (SELECT *, CASE WHEN json_valid(text) THEN text END AS sound FROM lines)
), valued AS (
    SELECT *, json_extract_string(p, {own}) AS own, {day_us} AS day_us,
        {meanings}[enum_code(try_cast(translate(lower(event), ' _-', '') AS {names}))::INTEGER + 1] AS meaning,
        -- `sound` is the text if it is valid JSON, so functions on it cannot fail.
        CASE
        WHEN sound IS NULL THEN {not_json}
        WHEN json_type(sound) <> 'OBJECT' THEN 'not_an_object'
        WHEN profile THEN NULL
        WHEN event IS NULL THEN 'event_missing'
        WHEN json_type(p) IS DISTINCT FROM 'OBJECT' THEN 'properties_not_an_object' END AS fault
    FROM parsed
), identified AS (
    SELECT *, {micros} AS micros, {original} AS original, {device_id} AS device_id,
        CASE WHEN {stated_insert_id} IS NOT NULL AND NOT list_contains({refused_ids}, {stated_insert_id})
            AND regexp_full_match({stated_insert_id}, '{insert_id_pattern}') THEN {stated_insert_id} END AS insert_id,
        CASE WHEN profile THEN {profile_id} ELSE {user_id} END AS stated_id,
        coalesce(meaning.many, false) AS many, coalesce(meaning.reads, false) AS reads
    FROM valued
), resolved AS (
    SELECT *, starts_with(original, '{device}') OR coalesce({bare_original} = device_id, false) AS of_device,
        CASE WHEN fault IS NULL AND insert_id IS NULL AND NOT profile
            THEN sha256(json_merge_patch(p, '{unhashed}')::VARCHAR) END AS content,
        CASE WHEN reads AND fault IS NULL THEN list_transform([{block_values}], lambda values: {block})[1] END
            AS own_block,
        CASE WHEN reads AND fault IS NULL THEN list_transform([{whole_values}], lambda values: {whole})[1] END
            AS whole,
        CASE WHEN reads AND fault IS NULL THEN {products} END AS products
    FROM identified
), people AS (
    SELECT *, CASE WHEN profile AND starts_with(stated_id, '{device}') THEN NULL
            ELSE coalesce(stated_id, CASE WHEN NOT of_device THEN original END) END AS known_id,
        coalesce(device_id, CASE WHEN of_device THEN {bare_original} END) AS anonymous_id,
        coalesce({product}) IS NOT NULL AS names_product, coalesce(len(products), 0) AS entries, {answers} AS answers
    FROM resolved
)
SELECT row_number, fault, CASE WHEN fault IS NOT NULL THEN sha256(raw) END AS sha256, event,
    coalesce(meaning.kind, CASE WHEN profile THEN 'identify' WHEN event IN {identity_events} THEN 'alias'
        ELSE 'unknown_event' END) AS kind,
    coalesce(known_id, anonymous_id) AS user_id, known_id, anonymous_id,
    known_id IS NULL AND anonymous_id IS NOT NULL AS is_device,
    {distinct_id} AS distinct_id, {bare_original} AS original_id, {identified_id} AS identified_id,
    {anon_id} AS anon_id, {alias_id} AS alias_id, {first_id} AS first_id, {second_id} AS second_id,
    CASE WHEN fault IS NULL AND NOT profile
        THEN '{mixpanel_event}' || left(sha256(concat_ws(chr(31), event, coalesce(micros // day_us, 0),
            coalesce(original, ''), coalesce(insert_id, content))), 32) END AS message_id,
    fault IS NULL AND NOT profile AND {stated_insert_id} IS NOT NULL AND insert_id IS NULL AS insert_id_unusable,
    CASE WHEN profile THEN {last_seen}
        ELSE coalesce(make_timestamp(micros) AT TIME ZONE {zone}, {written_time}) END AS occurred_at,
    make_timestamp({received}) AT TIME ZONE 'UTC' AS received_at,
    {consent} AS consent, entries AS listed, CASE WHEN profile THEN p END AS traits, NULL::VARCHAR AS visit,
    {user_agent} AS user_agent, {ip} AS ip, false AS id_first,
    CASE WHEN fault IS NOT NULL OR profile
        OR meaning.event_type = 'impression' AND NOT names_product AND entries = 0 THEN NULL
        ELSE meaning.event_type END AS event_type,
    CASE WHEN fault IS NOT NULL OR NOT reads THEN NULL
        WHEN entries > 0 AND (many OR NOT names_product) THEN products ELSE [own_block] END AS blocks,
    whole
FROM people
