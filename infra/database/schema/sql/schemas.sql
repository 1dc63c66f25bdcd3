-- What tables stand in: pseudonyms in a schema of their own, and Optuna's own tables.
CREATE SCHEMA IF NOT EXISTS identity;
CREATE SCHEMA IF NOT EXISTS optuna;
-- Of two processes that publish, the one with the greater number wins.
CREATE SEQUENCE recommendation_fence;
