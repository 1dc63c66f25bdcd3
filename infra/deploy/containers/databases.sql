-- Runs once, on the first start of the postgres service: one database and one owner for each program,
-- so that neither Prefect nor MLflow can read the shop's users.
\set ON_ERROR_STOP on
\getenv tailorbird_password TAILORBIRD_DATABASE_PASSWORD
\getenv prefect_password PREFECT_DATABASE_PASSWORD
\getenv mlflow_password MLFLOW_DATABASE_PASSWORD
\getenv reader_password READER_DATABASE_PASSWORD
\getenv serving_password SERVING_DATABASE_PASSWORD
\getenv ingest_password INGEST_DATABASE_PASSWORD
\getenv operator_password OPERATOR_DATABASE_PASSWORD

CREATE ROLE tailorbird LOGIN PASSWORD :'tailorbird_password';
CREATE ROLE prefect LOGIN PASSWORD :'prefect_password';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
-- The `deploy` service gives these their rights.
CREATE ROLE tailorbird_reader LOGIN PASSWORD :'reader_password';
CREATE ROLE tailorbird_serving LOGIN PASSWORD :'serving_password';
CREATE ROLE tailorbird_ingest LOGIN PASSWORD :'ingest_password';
CREATE ROLE tailorbird_operator LOGIN PASSWORD :'operator_password';

CREATE DATABASE tailorbird OWNER tailorbird;
CREATE DATABASE prefect OWNER prefect;
CREATE DATABASE mlflow OWNER mlflow;

REVOKE CONNECT, TEMPORARY ON DATABASE tailorbird, prefect, mlflow, postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE tailorbird TO tailorbird_reader, tailorbird_serving, tailorbird_ingest, tailorbird_operator;

\connect tailorbird
REVOKE USAGE ON SCHEMA public FROM PUBLIC;
-- By default everybody may fill the disk with large objects.
REVOKE EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) FROM PUBLIC;
