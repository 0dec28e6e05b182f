"""An Airflow DAG: re-index every night, then take old versions away. Copy to the DAGs folder and set the two paths.

A run that finds nothing changed succeeds and publishes nothing. The JSON object that each command prints as its last
line is the task's XCom.
"""

from datetime import datetime, timedelta

from airflow import DAG

try:
    from airflow.providers.standard.operators.bash import BashOperator
except ImportError:  # Airflow 2
    from airflow.operators.bash import BashOperator

HOME = "/srv/ruiji"
CONFIG = "configs/digits.yaml"

with DAG(
    dag_id="ruiji_reindex",
    schedule="15 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=20)},
    tags=["ruiji"],
) as dag:
    reindex = BashOperator(
        task_id="reindex",
        bash_command=f"cd {HOME} && .venv/bin/ruiji reindex --config {CONFIG} --json",
        execution_timeout=timedelta(hours=6),
    )
    collect = BashOperator(
        task_id="collect_garbage",
        bash_command=f"cd {HOME} && .venv/bin/ruiji versions gc --config {CONFIG} --json",
    )
    reindex >> collect
