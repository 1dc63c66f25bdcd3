-- What recommendations earned by week and placement ('' for all), from the acts since two days before `$start`.
-- A purchase and an addition to the basket belong to the user's latest click on the same item within the day before.
WITH act AS MATERIALIZED ({acts}),
main AS (SELECT mode(currency) AS currency FROM act WHERE kind = 'purchase'),
seen AS (
    SELECT person, item, list, min(moment) AS moment, min(placement) AS placement
    FROM act WHERE kind = 'impression' GROUP BY ALL
),
click AS (
    SELECT person, item, list, moment, coalesce(shown.placement, act.placement) AS placement
    FROM act LEFT JOIN (SELECT list, min(placement) AS placement FROM seen GROUP BY list) AS shown USING (list)
    WHERE list IS NOT NULL AND kind IN ('click', 'view', 'consume')
),
bought AS (
    SELECT act.person, act.item, act.moment, act.kind, click.placement,
        CASE WHEN coalesce(act.currency, main.currency) IS NOT DISTINCT FROM main.currency THEN act.value END AS value,
        click.moment IS NOT NULL AND act.moment < click.moment + INTERVAL 1 DAY AS follows
    FROM act CROSS JOIN main
    ASOF LEFT JOIN (SELECT person, item, moment, min(placement) AS placement FROM click GROUP BY ALL) AS click
        ON click.person = act.person AND click.item = act.item AND click.moment <= act.moment
    WHERE act.kind IN ('add_to_cart', 'purchase')
),
fact AS (
    SELECT seen.person, seen.moment, seen.placement, 1 AS impressions,
        (click.moment IS NOT NULL AND click.moment < seen.moment + INTERVAL 1 DAY)::INTEGER AS clicked
    FROM seen ASOF LEFT JOIN (SELECT DISTINCT person, item, list, moment FROM click) AS click
        ON click.person = seen.person AND click.item = seen.item AND click.list = seen.list
        AND click.moment >= seen.moment
    UNION ALL BY NAME
    SELECT person, min(moment) AS moment, min(placement) AS placement, 1 AS clicks FROM click GROUP BY person, item, list
    UNION ALL BY NAME
    SELECT person, moment, CASE WHEN follows THEN placement END AS placement,
        (follows AND kind = 'add_to_cart')::INTEGER AS baskets, (follows AND kind = 'purchase')::INTEGER AS purchases,
        CASE WHEN follows AND kind = 'purchase' THEN value END AS value,
        CASE WHEN kind = 'purchase' THEN value END AS revenue
    FROM bought
),
own AS (
    SELECT date_trunc('week', moment)::DATE AS week, place, person, coalesce(sum(impressions), 0) AS impressions,
        coalesce(sum(clicked), 0) AS clicked, sum(clicks) AS clicks, sum(baskets) AS baskets,
        sum(purchases) AS purchases, sum(value) AS value, sum(revenue) AS revenue
    FROM (
        SELECT *, unnest(CASE WHEN list_contains($placements, placement) THEN ['', placement] ELSE [''] END) AS place
        FROM fact
    )
    WHERE moment >= $start::TIMESTAMPTZ
    GROUP BY ALL
)
SELECT week, place AS placement, sum(impressions)::BIGINT AS impressions,
    coalesce(sum(clicks), 0)::BIGINT AS clicks, coalesce(sum(baskets), 0)::BIGINT AS baskets,
    coalesce(sum(purchases), 0)::BIGINT AS purchases, round(coalesce(sum(value), 0), 2) AS value,
    round(coalesce(max(sum(revenue) FILTER (place = '')) OVER (PARTITION BY week), 0), 2) AS revenue,
    (SELECT currency FROM main) AS currency, count(*) FILTER (impressions > 0) AS users,
    avg(clicked) FILTER (impressions > 0) AS clicked, avg(impressions) FILTER (impressions > 0) AS shown,
    var_samp(clicked) FILTER (impressions > 0) AS variance_clicked,
    var_samp(impressions) FILTER (impressions > 0) AS variance_shown,
    covar_samp(clicked, impressions) FILTER (impressions > 0) AS covariance
FROM own GROUP BY week, place ORDER BY week, place
