#!/bin/sh
# Every night at 2:15 Cloud Scheduler launches a Dataflow Flex Template of `ruiji reindex`; run this once.
# The template is an image, registered by `gcloud dataflow flex-template build`, in which Ruiji is installed and
# FLEX_TEMPLATE_PYTHON_PY_FILE names its pipelines/reindex.py; it holds the configuration and, in the working directory,
# the model. What is known of the media's files does not outlive a launch, so each run reads all media to compare them:
# for large catalogs prefer a job with a lasting working directory (cronjob.yaml). The service account needs the
# roles dataflow.developer and iam.serviceAccountUser, and access to the bucket. The lease in the store keeps two runs
# apart, however they were started.
set -eu
: "${PROJECT:?}" "${REGION:?}" "${BUCKET:?}" "${SERVICE_ACCOUNT:?}"
BODY=$(cat <<EOF
{
  "launchParameter": {
    "jobName": "ruiji-reindex",
    "containerSpecGcsPath": "gs://$BUCKET/templates/ruiji-reindex.json",
    "parameters": {
      "config": "/opt/ruiji/catalog.yaml",
      "store": "gs://$BUCKET/store",
      "workdir": "/opt/ruiji/work"
    },
    "environment": {
      "tempLocation": "gs://$BUCKET/temp",
      "serviceAccountEmail": "$SERVICE_ACCOUNT",
      "maxWorkers": 20
    }
  }
}
EOF
)
gcloud scheduler jobs create http ruiji-reindex \
  --project "$PROJECT" --location "$REGION" --schedule "15 2 * * *" --time-zone Etc/UTC \
  --attempt-deadline 180s --max-retry-attempts 2 \
  --uri "https://dataflow.googleapis.com/v1b3/projects/$PROJECT/locations/$REGION/flexTemplates:launch" \
  --http-method POST --headers "Content-Type=application/json" --message-body "$BODY" \
  --oauth-service-account-email "$SERVICE_ACCOUNT"
