#!/usr/bin/env bash
# Serve MLflow from a PostgreSQL database. Ctrl-C or SIGTERM ends the server and its workers.
#
#   export PGHOST=db.example.org PGDATABASE=mlflow PGUSER=mlflow PGPASSWORD=…   # or ~/.pgpass
#   deploy/mlflow/serve.sh
#   rlp-sweeps run SPACE --tracking-uri http://127.0.0.1:5000
#
# The database is named by libpq's own variables, so that its password stands neither in this file
# nor on a command line, which every user of the machine can read. Further settings:
#   MLFLOW_HOST       address to listen on            127.0.0.1: this machine only
#   MLFLOW_PORT       port                            5000
#   MLFLOW_WORKERS    processes that answer           2
#   MLFLOW_ARTIFACTS  folder or s3:// of artifacts    ./mlartifacts
#   MLFLOW_SERVER_ALLOWED_HOSTS   names by which others may call the server, for example head-node:*
set -euo pipefail

: "${PGHOST:?name the database: PGHOST, PGDATABASE, PGUSER, and PGPASSWORD or ~/.pgpass}"
: "${PGDATABASE:?name the database: PGHOST, PGDATABASE, PGUSER, and PGPASSWORD or ~/.pgpass}"
host="${MLFLOW_HOST:-127.0.0.1}"

case "$host" in
127.* | localhost | ::1) ;;
*) echo "serve.sh: this server has no login, and everybody who reaches $host can write to it" >&2 ;;
esac

export MLFLOW_BACKEND_STORE_URI="${MLFLOW_BACKEND_STORE_URI:-postgresql+psycopg2://}" # PG* say the rest
export MLFLOW_ARTIFACTS_DESTINATION="${MLFLOW_ARTIFACTS:-$PWD/mlartifacts}"
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false # seven processes and 2 GB less
export MLFLOW_DISABLE_TELEMETRY=true

exec "${PYTHON:-python3}" -m mlflow server \
  --host "$host" --port "${MLFLOW_PORT:-5000}" --workers "${MLFLOW_WORKERS:-2}"
