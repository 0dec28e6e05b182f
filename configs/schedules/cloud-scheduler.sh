#!/bin/sh
# Every night at 2:15 Cloud Scheduler launches a Dataflow Flex Template, whose worker runs `ruiji reindex`; run this
# once. The template is registered by `gcloud dataflow flex-template build` (docs/dataflow.md); IMAGE is its image, with
# a tag, and holds the configuration and, in the working directory, the model. What is known of the media's files does
# not outlive a launch, so each run reads all media to compare them: for large catalogs prefer a job with a lasting
# working directory (cronjob.yaml). The service account needs the roles dataflow.developer, dataflow.worker and
# iam.serviceAccountUser, and access to the bucket. The lease in the store keeps two runs apart, however they were
# started.
set -eu
: "${PROJECT:?}" "${REGION:?}" "${BUCKET:?}" "${SERVICE_ACCOUNT:?}" "${IMAGE:?}"
BODY=$(cat <<EOF
{
  "launchParameter": {
    "jobName": "ruiji-reindex",
    "containerSpecGcsPath": "gs://$BUCKET/templates/ruiji.json",
    "parameters": {
      "config": "/opt/ruiji/catalog.yaml",
      "sdk_container_image": "$IMAGE",
      "store": "gs://$BUCKET/store",
      "workdir": "/opt/ruiji/work"
    },
    "environment": {
      "tempLocation": "gs://$BUCKET/temp",
      "serviceAccountEmail": "$SERVICE_ACCOUNT",
      "machineType": "n2-standard-8"
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
