-- Runs once, on the first start of the postgres service: one database and one owner for each program,
-- so that neither Prefect nor MLflow can read the shop's users.
\set ON_ERROR_STOP on
\getenv tailorbird_password TAILORBIRD_DATABASE_PASSWORD
\getenv prefect_password PREFECT_DATABASE_PASSWORD
\getenv mlflow_password MLFLOW_DATABASE_PASSWORD

CREATE ROLE tailorbird LOGIN PASSWORD :'tailorbird_password';
CREATE ROLE prefect LOGIN PASSWORD :'prefect_password';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';

CREATE DATABASE tailorbird OWNER tailorbird;
CREATE DATABASE prefect OWNER prefect;
CREATE DATABASE mlflow OWNER mlflow;

REVOKE CONNECT ON DATABASE tailorbird, prefect, mlflow FROM PUBLIC;
