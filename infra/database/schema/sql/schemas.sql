-- Raw ids of users and Optuna's tables have schemas of their own.
CREATE SCHEMA IF NOT EXISTS identity;
CREATE SCHEMA IF NOT EXISTS optuna;
-- Of two processes that publish, the one with the greater number wins.
CREATE SEQUENCE recommendation_fence;
