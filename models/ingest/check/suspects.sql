-- Items that do not look like goods, with the reasons. Their names come first, then their prices and refunds.
WITH read AS (
    SELECT *, coalesce(lower(coalesce({word})), '') AS word,
        avg(regexp_matches(item_id, '[0-9]')::INTEGER) OVER () AS digits,
        -- Others' rate of refunds, by the rule of succession: a shop without refunds may get its first.
        (sum(returned) OVER () - returned + 1) / (sum(bought) OVER () - bought + 2) AS usual,
        sum((bought >= {fewest})::INTEGER) OVER () AS tested
    FROM items
), named AS (
    SELECT *, list_filter([
        CASE WHEN NOT regexp_matches(item_id, '[0-9]') AND digits >= {most_ids} THEN
            format('its id has no digit, but {{:.1f}} % of ids have one', 100 * digits) END,
        CASE WHEN word <> '' THEN 'its title has the word ' || word END,
        CASE WHEN title <> '' AND NOT regexp_matches(title, '[\p{{L}}0-9]') THEN 'its title has no letters' END
    ], lambda reason: reason IS NOT NULL) AS by_name FROM read
), checked AS (
    SELECT *, by_name || list_filter([
        CASE WHEN price = 0 THEN 'its price is 0' END,
        CASE WHEN bought >= {paid} AND highest >= {spread} * lowest THEN
            format('most people pay from {{:.2f}} to {{:.2f}} for one', lowest, highest) END,
        CASE WHEN bought >= {fewest} AND returned = bought AND tested * usual ** bought <= {chance} THEN
            format('none of its {{}} purchases was kept', bought) END
    ], lambda reason: reason IS NOT NULL) AS reasons FROM named
)
SELECT item_id, title, bought, array_to_string(reasons, '; ') AS why, len(by_name) > 0 AS by_text FROM checked
WHERE len(reasons) > 0 ORDER BY len(reasons) DESC, bought DESC, item_id
