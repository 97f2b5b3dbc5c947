CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE dataset (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    latest INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    CONSTRAINT pk_dataset PRIMARY KEY (project, name)
)
 STRICT;

CREATE TABLE dataset_version (
    project TEXT NOT NULL,
    dataset TEXT NOT NULL,
    number INTEGER NOT NULL,
    id TEXT NOT NULL,
    rows INTEGER NOT NULL,
    quarantined INTEGER NOT NULL,
    columns TEXT NOT NULL,
    checks TEXT NOT NULL,
    digest TEXT NOT NULL,
    profile TEXT NOT NULL,
    parents TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    delta_version INTEGER NOT NULL,
    source TEXT NOT NULL,
    time_column TEXT NOT NULL,
    dedup_key TEXT NOT NULL,
    CONSTRAINT pk_dataset_version PRIMARY KEY (project, dataset, number),
    CONSTRAINT uq_dataset_version_id UNIQUE (id)
)
 STRICT;

CREATE UNIQUE INDEX uq_dataset_version_key ON dataset_version (project, dataset, dedup_key) WHERE dedup_key != '';

CREATE TABLE feature_materialization (
    id TEXT NOT NULL,
    project TEXT NOT NULL,
    "view" TEXT NOT NULL,
    number INTEGER NOT NULL,
    dataset TEXT NOT NULL,
    as_of INTEGER NOT NULL,
    entities INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    made_at INTEGER NOT NULL,
    CONSTRAINT pk_feature_materialization PRIMARY KEY (id)
)
 STRICT;

CREATE INDEX ix_feature_materialization_view ON feature_materialization (project, "view", id);

CREATE TABLE feature_view (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    spec TEXT NOT NULL,
    keys TEXT NOT NULL,
    columns TEXT NOT NULL,
    digest TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    CONSTRAINT pk_feature_view PRIMARY KEY (project, name, number)
)
 STRICT;

CREATE TABLE split (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    dataset TEXT NOT NULL,
    dataset_digest TEXT NOT NULL,
    spec TEXT NOT NULL,
    parts TEXT NOT NULL,
    digest TEXT NOT NULL,
    assignment TEXT NOT NULL,
    uses INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    CONSTRAINT pk_split PRIMARY KEY (project, name, number),
    CONSTRAINT uq_split_project_name_dataset_digest UNIQUE (project, name, dataset, digest)
)
 STRICT;

CREATE TABLE split_use (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    use INTEGER NOT NULL,
    actor TEXT NOT NULL,
    purpose TEXT NOT NULL,
    at INTEGER NOT NULL,
    CONSTRAINT pk_split_use PRIMARY KEY (project, name, number, use)
)
 STRICT;

CREATE TABLE gate_approval (
    project TEXT NOT NULL,
    verdict TEXT NOT NULL,
    decision TEXT NOT NULL,
    role TEXT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    digest TEXT NOT NULL,
    evidence TEXT NOT NULL,
    CONSTRAINT pk_gate_approval PRIMARY KEY (project, verdict, actor)
)
 STRICT;

CREATE TABLE verdict (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    gate TEXT NOT NULL,
    model TEXT NOT NULL,
    version INTEGER NOT NULL,
    champion INTEGER,
    outcome TEXT NOT NULL,
    undecided TEXT NOT NULL,
    checks TEXT NOT NULL,
    spec TEXT NOT NULL,
    n INTEGER NOT NULL,
    data_ref TEXT NOT NULL,
    use INTEGER NOT NULL,
    alpha REAL NOT NULL,
    seed INTEGER NOT NULL,
    candidate_digest TEXT NOT NULL,
    champion_digest TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    label TEXT NOT NULL,
    scores TEXT NOT NULL,
    approve TEXT NOT NULL,
    CONSTRAINT pk_verdict PRIMARY KEY (project, id)
)
 STRICT;

CREATE INDEX ix_verdict_data_ref ON verdict (project, data_ref);

CREATE INDEX ix_verdict_model ON verdict (project, model, id);

CREATE UNIQUE INDEX uq_verdict_key ON verdict (project, idempotency_key) WHERE idempotency_key != '';

CREATE TABLE card (
    project TEXT NOT NULL,
    model TEXT NOT NULL,
    version INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    digest TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    CONSTRAINT pk_card PRIMARY KEY (project, model, version, revision)
)
 STRICT;

CREATE TABLE cycle (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    policy TEXT NOT NULL,
    deployment TEXT NOT NULL,
    model TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    trigger_seq INTEGER NOT NULL,
    as_of INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    pipeline_run TEXT NOT NULL,
    version INTEGER,
    verdict TEXT NOT NULL,
    rollout TEXT NOT NULL,
    note TEXT NOT NULL,
    CONSTRAINT pk_cycle PRIMARY KEY (id)
)
 STRICT;

CREATE INDEX ix_cycle_project_deployment_started_at ON cycle (project, deployment, started_at);

CREATE UNIQUE INDEX uq_cycle_open ON cycle (project, deployment) WHERE state IN ('training', 'gating', 'canary');

CREATE TABLE declaration (
    project TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    spec TEXT NOT NULL,
    "by" TEXT NOT NULL,
    at INTEGER NOT NULL,
    CONSTRAINT pk_declaration PRIMARY KEY (project, kind, name)
)
 STRICT;

CREATE TABLE hook_delivery (
    project TEXT NOT NULL,
    "trigger" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    at INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    CONSTRAINT pk_hook_delivery PRIMARY KEY (project, "trigger", "key")
)
 STRICT;

CREATE TABLE plan_state (
    project TEXT NOT NULL,
    serial INTEGER NOT NULL,
    holder TEXT NOT NULL,
    held_by TEXT NOT NULL,
    held_at INTEGER NOT NULL,
    held_until INTEGER NOT NULL,
    CONSTRAINT pk_plan_state PRIMARY KEY (project)
)
 STRICT;

CREATE TABLE policy_switch (
    project TEXT NOT NULL,
    policy TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    "by" TEXT NOT NULL,
    CONSTRAINT pk_policy_switch PRIMARY KEY (project, policy)
)
 STRICT;

CREATE TABLE "trigger" (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    watches TEXT NOT NULL,
    spec TEXT NOT NULL,
    since INTEGER NOT NULL,
    mark INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    paused_at INTEGER NOT NULL,
    paused_by TEXT NOT NULL,
    paused_why TEXT NOT NULL,
    CONSTRAINT pk_trigger PRIMARY KEY (project, name)
)
 STRICT;

CREATE TABLE trigger_fire (
    project TEXT NOT NULL,
    "trigger" TEXT NOT NULL,
    id TEXT NOT NULL,
    "key" TEXT NOT NULL,
    cause TEXT NOT NULL,
    outcome TEXT NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    started TEXT NOT NULL,
    times INTEGER NOT NULL,
    CONSTRAINT pk_trigger_fire PRIMARY KEY (project, "trigger", id)
)
 STRICT;

CREATE INDEX ix_trigger_fire_key ON trigger_fire (project, "trigger", "key");

CREATE TABLE alarm (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    deployment TEXT NOT NULL,
    version INTEGER NOT NULL,
    cause TEXT NOT NULL,
    state TEXT NOT NULL,
    text TEXT NOT NULL,
    evidence TEXT NOT NULL,
    window_start INTEGER NOT NULL,
    window_end INTEGER NOT NULL,
    raised_at INTEGER NOT NULL,
    acknowledged_at INTEGER NOT NULL,
    acknowledged_by TEXT NOT NULL,
    note TEXT NOT NULL,
    escalated_at INTEGER NOT NULL,
    closed_at INTEGER NOT NULL,
    closed_by TEXT NOT NULL,
    silence TEXT NOT NULL,
    CONSTRAINT pk_alarm PRIMARY KEY (project, id)
)
 STRICT;

CREATE INDEX ix_alarm_deployment ON alarm (project, deployment, id);

CREATE TABLE awaiting_label (
    project TEXT NOT NULL,
    deployment TEXT NOT NULL,
    prediction_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    event_at INTEGER NOT NULL,
    score REAL,
    answer TEXT NOT NULL,
    is_labelled INTEGER NOT NULL,
    segments TEXT NOT NULL,
    part TEXT NOT NULL,
    low REAL,
    high REAL,
    label REAL,
    cells TEXT NOT NULL,
    CONSTRAINT pk_awaiting_label PRIMARY KEY (project, deployment, prediction_id)
)
 STRICT;

CREATE INDEX ix_awaiting_label_event_at ON awaiting_label (project, deployment, event_at);

CREATE TABLE early_label (
    project TEXT NOT NULL,
    deployment TEXT NOT NULL,
    prediction_id TEXT NOT NULL,
    value TEXT NOT NULL,
    at INTEGER NOT NULL,
    CONSTRAINT pk_early_label PRIMARY KEY (project, deployment, prediction_id)
)
 STRICT;

CREATE TABLE feedback_window (
    project TEXT NOT NULL,
    deployment TEXT NOT NULL,
    kind TEXT NOT NULL,
    start INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    numbers INTEGER NOT NULL,
    total REAL NOT NULL,
    squares REAL NOT NULL,
    CONSTRAINT pk_feedback_window PRIMARY KEY (project, deployment, kind, start)
)
 STRICT;

CREATE TABLE monitor (
    project TEXT NOT NULL,
    deployment TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    watermark INTEGER NOT NULL,
    predictions INTEGER NOT NULL,
    labels INTEGER NOT NULL,
    position TEXT NOT NULL,
    feedback_seq INTEGER NOT NULL,
    CONSTRAINT pk_monitor PRIMARY KEY (project, deployment)
)
 STRICT;

CREATE TABLE monitor_judgement (
    project TEXT NOT NULL,
    deployment TEXT NOT NULL,
    version INTEGER NOT NULL,
    cause TEXT NOT NULL,
    window_end INTEGER NOT NULL,
    window_start INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    evidence REAL NOT NULL,
    level REAL NOT NULL,
    state TEXT NOT NULL,
    details TEXT NOT NULL,
    CONSTRAINT pk_monitor_judgement PRIMARY KEY (project, deployment, version, cause, window_end)
)
 STRICT;

CREATE TABLE monitor_version (
    project TEXT NOT NULL,
    deployment TEXT NOT NULL,
    version INTEGER NOT NULL,
    model TEXT NOT NULL,
    task TEXT NOT NULL,
    reference TEXT NOT NULL,
    loss TEXT NOT NULL,
    reference_loss REAL NOT NULL,
    problem TEXT NOT NULL,
    drift_until INTEGER NOT NULL,
    loss_until INTEGER NOT NULL,
    state TEXT NOT NULL,
    CONSTRAINT pk_monitor_version PRIMARY KEY (project, deployment, version)
)
 STRICT;

CREATE TABLE monitor_window (
    project TEXT NOT NULL,
    deployment TEXT NOT NULL,
    version INTEGER NOT NULL,
    start INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    sketch BLOB NOT NULL,
    CONSTRAINT pk_monitor_window PRIMARY KEY (project, deployment, version, start)
)
 STRICT;

CREATE TABLE performance_window (
    project TEXT NOT NULL,
    deployment TEXT NOT NULL,
    version INTEGER NOT NULL,
    segment TEXT NOT NULL,
    start INTEGER NOT NULL,
    outcomes TEXT NOT NULL,
    CONSTRAINT pk_performance_window PRIMARY KEY (project, deployment, version, segment, start)
)
 STRICT;

CREATE TABLE service_window (
    project TEXT NOT NULL,
    deployment TEXT NOT NULL,
    version INTEGER NOT NULL,
    start INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    counts TEXT NOT NULL,
    CONSTRAINT pk_service_window PRIMARY KEY (project, deployment, version, start)
)
 STRICT;

CREATE INDEX ix_service_window_start ON service_window (project, deployment, start);

CREATE TABLE silence (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    deployment TEXT NOT NULL,
    cause TEXT NOT NULL,
    "column" TEXT NOT NULL,
    until INTEGER NOT NULL,
    why TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    ended_at INTEGER NOT NULL,
    ended_by TEXT NOT NULL,
    CONSTRAINT pk_silence PRIMARY KEY (project, id)
)
 STRICT;

CREATE TABLE usage_window (
    project TEXT NOT NULL,
    start INTEGER NOT NULL,
    worker TEXT NOT NULL,
    pid INTEGER NOT NULL,
    seconds REAL NOT NULL,
    cores REAL NOT NULL,
    memory_mb REAL NOT NULL,
    models TEXT NOT NULL,
    CONSTRAINT pk_usage_window PRIMARY KEY (project, start, worker)
)
 STRICT;

CREATE TABLE pipeline_run (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    pipeline TEXT NOT NULL,
    target TEXT NOT NULL,
    params TEXT NOT NULL,
    state TEXT NOT NULL,
    engine TEXT NOT NULL,
    job_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    tracked INTEGER NOT NULL,
    cache INTEGER NOT NULL,
    pausing INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    actor TEXT NOT NULL,
    pins TEXT NOT NULL,
    code TEXT NOT NULL,
    result TEXT,
    error TEXT NOT NULL,
    error_code TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    CONSTRAINT pk_pipeline_run PRIMARY KEY (project, id)
)
 STRICT;

CREATE INDEX ix_pipeline_run_created_at ON pipeline_run (project, created_at);

CREATE INDEX ix_pipeline_run_pipeline ON pipeline_run (project, pipeline, created_at);

CREATE INDEX ix_pipeline_run_state ON pipeline_run (state);

CREATE TABLE search_study (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    pipeline TEXT NOT NULL,
    target TEXT NOT NULL,
    search TEXT NOT NULL,
    state TEXT NOT NULL,
    winner TEXT NOT NULL,
    error TEXT NOT NULL,
    job_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    CONSTRAINT pk_search_study PRIMARY KEY (project, id)
)
 STRICT;

CREATE INDEX ix_search_study_created_at ON search_study (project, created_at);

CREATE TABLE search_trial (
    project TEXT NOT NULL,
    study TEXT NOT NULL,
    number INTEGER NOT NULL,
    state TEXT NOT NULL,
    params TEXT NOT NULL,
    run TEXT NOT NULL,
    tries INTEGER NOT NULL,
    "values" TEXT NOT NULL,
    steps TEXT NOT NULL,
    note TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    CONSTRAINT pk_search_trial PRIMARY KEY (project, study, number)
)
 STRICT;

CREATE TABLE step_cache (
    project TEXT NOT NULL,
    "key" TEXT NOT NULL,
    output TEXT NOT NULL,
    reads TEXT NOT NULL,
    run TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    CONSTRAINT pk_step_cache PRIMARY KEY (project, "key")
)
 STRICT;

CREATE TABLE step_run (
    project TEXT NOT NULL,
    run TEXT NOT NULL,
    step TEXT NOT NULL,
    parent TEXT NOT NULL,
    position INTEGER NOT NULL,
    function TEXT NOT NULL,
    "plan" TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    "key" TEXT NOT NULL,
    parts TEXT,
    output TEXT,
    error TEXT NOT NULL,
    error_code TEXT NOT NULL,
    log TEXT NOT NULL,
    source TEXT NOT NULL,
    cpu_us INTEGER NOT NULL,
    memory INTEGER NOT NULL,
    decision TEXT,
    started_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    CONSTRAINT pk_step_run PRIMARY KEY (project, run, step)
)
 STRICT;

CREATE INDEX ix_step_run_asked ON step_run (project, run) WHERE state = 'asked';

CREATE INDEX ix_step_run_making ON step_run (project, "key") WHERE state = 'running';

CREATE TABLE alias_change (
    seq INTEGER NOT NULL,
    model INTEGER NOT NULL,
    alias TEXT NOT NULL,
    version INTEGER,
    "before" INTEGER,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    CONSTRAINT pk_alias_change PRIMARY KEY (seq)
)
 STRICT;

CREATE INDEX ix_alias_change_model_alias_seq ON alias_change (model, alias, seq);

CREATE TABLE model (
    serial INTEGER NOT NULL,
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    counted INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER,
    CONSTRAINT pk_model PRIMARY KEY (serial)
)
 STRICT;

CREATE INDEX ix_model_project_name ON model (project, name);

CREATE UNIQUE INDEX uq_model_living_name ON model (project, name) WHERE deleted_at IS NULL;

CREATE TABLE model_redirect (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    model INTEGER NOT NULL,
    at INTEGER NOT NULL,
    CONSTRAINT pk_model_redirect PRIMARY KEY (project, name)
)
 STRICT;

CREATE INDEX ix_model_redirect_model ON model_redirect (model);

CREATE TABLE model_tag (
    model INTEGER NOT NULL,
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    CONSTRAINT pk_model_tag PRIMARY KEY (model, "key")
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE model_version (
    serial INTEGER NOT NULL,
    project TEXT NOT NULL,
    model INTEGER NOT NULL,
    number INTEGER NOT NULL,
    "key" TEXT,
    digest TEXT NOT NULL,
    manifest TEXT NOT NULL,
    signature TEXT,
    flavour TEXT NOT NULL,
    task TEXT NOT NULL,
    classes TEXT NOT NULL,
    example TEXT NOT NULL,
    run_id TEXT NOT NULL,
    datasets TEXT NOT NULL,
    reference TEXT NOT NULL,
    metrics TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    environment TEXT NOT NULL,
    signed_by TEXT NOT NULL,
    seal TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    description TEXT NOT NULL,
    source TEXT NOT NULL,
    location TEXT NOT NULL,
    run_link TEXT NOT NULL,
    status TEXT NOT NULL,
    status_message TEXT NOT NULL,
    stage TEXT NOT NULL,
    model_id TEXT NOT NULL,
    deleted_at INTEGER,
    CONSTRAINT pk_model_version PRIMARY KEY (serial),
    CONSTRAINT uq_model_version_model_key UNIQUE (model, "key"),
    CONSTRAINT uq_model_version_model_number UNIQUE (model, number)
)
 STRICT;

CREATE INDEX ix_model_version_digest ON model_version (digest);

CREATE INDEX ix_model_version_project_run_id ON model_version (project, run_id);

CREATE INDEX ix_model_version_project_updated_at ON model_version (project, updated_at);

CREATE TABLE model_version_tag (
    version INTEGER NOT NULL,
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    CONSTRAINT pk_model_version_tag PRIMARY KEY (version, "key")
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE stage_change (
    seq INTEGER NOT NULL,
    model INTEGER NOT NULL,
    version INTEGER NOT NULL,
    stage TEXT NOT NULL,
    "before" TEXT NOT NULL,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    CONSTRAINT pk_stage_change PRIMARY KEY (seq)
)
 STRICT;

CREATE INDEX ix_stage_change_model_version_seq ON stage_change (model, version, seq);

CREATE TABLE webhook (
    id TEXT NOT NULL,
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    events TEXT NOT NULL,
    description TEXT NOT NULL,
    status TEXT NOT NULL,
    secret TEXT NOT NULL,
    since INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CONSTRAINT pk_webhook PRIMARY KEY (id)
)
 STRICT;

CREATE INDEX ix_webhook_project_id ON webhook (project, id);

CREATE TABLE bandit (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    deployment TEXT NOT NULL,
    versions TEXT NOT NULL,
    spec TEXT NOT NULL,
    state TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    arms TEXT NOT NULL,
    learned_at INTEGER NOT NULL,
    CONSTRAINT pk_bandit PRIMARY KEY (project, id)
)
 STRICT;

CREATE INDEX ix_bandit_project_deployment_id ON bandit (project, deployment, id);

CREATE UNIQUE INDEX uq_bandit_running ON bandit (project, deployment) WHERE state = 'running';

CREATE TABLE deployment (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    traffic TEXT NOT NULL,
    options TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CONSTRAINT pk_deployment PRIMARY KEY (project, name),
    CONSTRAINT uq_deployment_endpoint UNIQUE (endpoint)
)
 STRICT;

CREATE TABLE feedback (
    project TEXT NOT NULL,
    deployment TEXT NOT NULL,
    prediction_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    seq INTEGER NOT NULL,
    number REAL,
    text TEXT,
    at INTEGER NOT NULL,
    stored_at INTEGER NOT NULL,
    CONSTRAINT pk_feedback PRIMARY KEY (project, deployment, prediction_id, kind)
)
 STRICT;

CREATE UNIQUE INDEX ix_feedback_seq ON feedback (project, deployment, seq);

CREATE TABLE replay (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    deployment TEXT NOT NULL,
    version INTEGER NOT NULL,
    since INTEGER,
    until INTEGER,
    state TEXT NOT NULL,
    rows INTEGER NOT NULL,
    done INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    beat_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    digest TEXT NOT NULL,
    report TEXT NOT NULL,
    CONSTRAINT pk_replay PRIMARY KEY (project, id)
)
 STRICT;

CREATE INDEX ix_replay_project_deployment_id ON replay (project, deployment, id);

CREATE TABLE review (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    deployment TEXT NOT NULL,
    prediction_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    marks TEXT NOT NULL,
    answer TEXT NOT NULL,
    asked_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    decision TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    decided_at INTEGER NOT NULL,
    note TEXT NOT NULL,
    CONSTRAINT pk_review PRIMARY KEY (project, id),
    CONSTRAINT uq_review_project_deployment_prediction_id UNIQUE (project, deployment, prediction_id)
)
 STRICT;

CREATE INDEX ix_review_project_state_id ON review (project, state, id);

CREATE TABLE rollout (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    deployment TEXT NOT NULL,
    champion INTEGER NOT NULL,
    version INTEGER NOT NULL,
    share REAL NOT NULL,
    step INTEGER NOT NULL,
    spec TEXT NOT NULL,
    state TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    decision TEXT NOT NULL,
    standing TEXT NOT NULL,
    CONSTRAINT pk_rollout PRIMARY KEY (project, id)
)
 STRICT;

CREATE INDEX ix_rollout_project_deployment_id ON rollout (project, deployment, id);

CREATE UNIQUE INDEX uq_rollout_open ON rollout (project, deployment) WHERE state IN ('running', 'paused', 'held');

CREATE TABLE traffic_change (
    seq INTEGER NOT NULL,
    project TEXT NOT NULL,
    deployment TEXT NOT NULL,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    traffic TEXT NOT NULL,
    redact TEXT NOT NULL,
    reason TEXT NOT NULL,
    CONSTRAINT pk_traffic_change PRIMARY KEY (seq)
)
 STRICT;

CREATE INDEX ix_traffic_change_project_deployment_seq ON traffic_change (project, deployment, seq);

CREATE TABLE consumer_offset (
    consumer TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    CONSTRAINT pk_consumer_offset PRIMARY KEY (consumer)
)
 STRICT;

CREATE TABLE event (
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    project TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    payload TEXT NOT NULL,
    request_id TEXT NOT NULL,
    CONSTRAINT pk_event PRIMARY KEY (seq)
)
 STRICT;

CREATE INDEX ix_event_kind_seq ON event (kind, seq);

CREATE INDEX ix_event_project_seq ON event (project, seq);

CREATE INDEX ix_event_subject_seq ON event (subject, seq);

CREATE TRIGGER event_no_update BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'the table event is append-only'); END;

CREATE TRIGGER event_no_delete BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'the table event is append-only'); END;

CREATE TABLE job (
    id TEXT NOT NULL,
    project TEXT NOT NULL,
    actor TEXT NOT NULL,
    queue TEXT NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    dedup_key TEXT NOT NULL,
    job_group TEXT NOT NULL,
    priority INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    run_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    worker TEXT NOT NULL,
    lease_until INTEGER NOT NULL,
    result TEXT,
    error TEXT NOT NULL,
    CONSTRAINT pk_job PRIMARY KEY (id)
)
 STRICT;

CREATE INDEX ix_job_next ON job (state, queue, priority, run_at, created_at, id);

CREATE INDEX ix_job_project_created_at ON job (project, created_at);

CREATE INDEX ix_job_state_lease_until ON job (state, lease_until);

CREATE UNIQUE INDEX uq_job_unfinished_key ON job (project, queue, dedup_key) WHERE dedup_key != '' AND state IN ('queued', 'running');

CREATE TABLE queue_control (
    queue TEXT NOT NULL,
    mode TEXT NOT NULL,
    running_limit INTEGER NOT NULL,
    group_limit INTEGER NOT NULL,
    CONSTRAINT pk_queue_control PRIMARY KEY (queue)
)
 STRICT;

CREATE TABLE queue_quota (
    queue TEXT NOT NULL,
    project TEXT NOT NULL,
    running_limit INTEGER NOT NULL,
    CONSTRAINT pk_queue_quota PRIMARY KEY (queue, project)
)
 STRICT;

CREATE TABLE queue_worker (
    name TEXT NOT NULL,
    host TEXT NOT NULL,
    queues TEXT NOT NULL,
    threads INTEGER NOT NULL,
    has TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    CONSTRAINT pk_queue_worker PRIMARY KEY (name)
)
 STRICT;

CREATE TABLE seal (
    number INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    count INTEGER NOT NULL,
    root TEXT NOT NULL,
    previous TEXT NOT NULL,
    at INTEGER NOT NULL,
    "key" TEXT NOT NULL,
    signature TEXT NOT NULL,
    CONSTRAINT pk_seal PRIMARY KEY (number)
)
 STRICT;

CREATE TABLE arrival (
    project TEXT NOT NULL,
    source TEXT NOT NULL,
    subject TEXT NOT NULL,
    stamp TEXT NOT NULL,
    at INTEGER NOT NULL,
    CONSTRAINT pk_arrival PRIMARY KEY (project, source, subject)
)
 STRICT;

CREATE TABLE artifact (
    project TEXT NOT NULL,
    path TEXT NOT NULL,
    digest TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    at INTEGER NOT NULL,
    CONSTRAINT pk_artifact PRIMARY KEY (project, path)
)
 STRICT;

CREATE INDEX ix_artifact_digest ON artifact (digest);

CREATE TABLE assessment (
    trace INTEGER NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    content TEXT NOT NULL,
    kind TEXT NOT NULL,
    value TEXT,
    number REAL,
    CONSTRAINT pk_assessment PRIMARY KEY (trace, id)
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE evaluation_record (
    evaluation_set INTEGER NOT NULL,
    inputs_digest TEXT NOT NULL,
    id TEXT NOT NULL,
    content TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    updated_by TEXT NOT NULL,
    CONSTRAINT pk_evaluation_record PRIMARY KEY (evaluation_set, inputs_digest)
)
 STRICT;

CREATE INDEX ix_evaluation_record_evaluation_set_id ON evaluation_record (evaluation_set, id);

CREATE TABLE evaluation_set (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    updated_by TEXT NOT NULL,
    schema TEXT,
    size INTEGER NOT NULL,
    CONSTRAINT uq_evaluation_set_id UNIQUE (id)
)
 STRICT;

CREATE INDEX ix_evaluation_set_project_created_at ON evaluation_set (project, created_at);

CREATE TABLE evaluation_set_experiment (
    evaluation_set INTEGER NOT NULL,
    experiment INTEGER NOT NULL,
    CONSTRAINT pk_evaluation_set_experiment PRIMARY KEY (evaluation_set, experiment)
)
 WITHOUT ROWID,
 STRICT;

CREATE INDEX ix_evaluation_set_experiment_experiment ON evaluation_set_experiment (experiment);

CREATE TABLE evaluation_set_tag (
    evaluation_set INTEGER NOT NULL,
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    CONSTRAINT pk_evaluation_set_tag PRIMARY KEY (evaluation_set, "key")
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE experiment (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    location TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER,
    CONSTRAINT uq_experiment_project_id UNIQUE (project, id),
    CONSTRAINT uq_experiment_project_name UNIQUE (project, name)
)
 STRICT;

CREATE TABLE experiment_tag (
    experiment INTEGER NOT NULL,
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    CONSTRAINT pk_experiment_tag PRIMARY KEY (experiment, "key")
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE input_dataset (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    experiment INTEGER NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    source_type TEXT NOT NULL,
    source TEXT NOT NULL,
    schema TEXT NOT NULL,
    profile TEXT NOT NULL,
    CONSTRAINT uq_input_dataset_experiment_name_digest UNIQUE (experiment, name, digest)
)
 STRICT;

CREATE INDEX ix_input_dataset_source ON input_dataset (source);

CREATE TABLE logged_model (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    project TEXT NOT NULL,
    experiment INTEGER NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    run_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER,
    CONSTRAINT uq_logged_model_id UNIQUE (id)
)
 STRICT;

CREATE INDEX ix_logged_model_experiment_created_at_id ON logged_model (experiment, created_at, id);

CREATE INDEX ix_logged_model_run_id ON logged_model (run_id);

CREATE TABLE logged_model_metric (
    model INTEGER NOT NULL,
    "key" INTEGER NOT NULL,
    run INTEGER NOT NULL,
    dataset_name TEXT NOT NULL,
    dataset_digest TEXT NOT NULL,
    step INTEGER NOT NULL,
    at INTEGER NOT NULL,
    sort INTEGER NOT NULL,
    value REAL NOT NULL,
    CONSTRAINT pk_logged_model_metric PRIMARY KEY (model, "key", run, dataset_name, dataset_digest)
)
 WITHOUT ROWID,
 STRICT;

CREATE INDEX ix_logged_model_metric_run ON logged_model_metric (run);

CREATE TABLE logged_model_param (
    model INTEGER NOT NULL,
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    CONSTRAINT pk_logged_model_param PRIMARY KEY (model, "key")
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE logged_model_tag (
    model INTEGER NOT NULL,
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    CONSTRAINT pk_logged_model_tag PRIMARY KEY (model, "key")
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE metric (
    run INTEGER NOT NULL,
    "key" INTEGER NOT NULL,
    step INTEGER NOT NULL,
    at INTEGER NOT NULL,
    sort INTEGER NOT NULL,
    value REAL NOT NULL,
    CONSTRAINT pk_metric PRIMARY KEY (run, "key", step, at, sort, value)
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE metric_column (
    "key" INTEGER NOT NULL,
    block INTEGER NOT NULL,
    runs BLOB NOT NULL,
    numbers BLOB NOT NULL,
    CONSTRAINT pk_metric_column PRIMARY KEY ("key", block)
)
 STRICT;

CREATE TABLE metric_column_late (
    run INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    CONSTRAINT pk_metric_column_late PRIMARY KEY (run, turn)
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE metric_column_state (
    turn INTEGER NOT NULL,
    announced INTEGER NOT NULL,
    built INTEGER NOT NULL,
    CONSTRAINT pk_metric_column_state PRIMARY KEY (turn)
)
 STRICT;

CREATE TABLE metric_key (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    experiment INTEGER NOT NULL,
    name TEXT NOT NULL,
    CONSTRAINT uq_metric_key_experiment_name UNIQUE (experiment, name)
)
 STRICT;

CREATE TABLE metric_latest (
    run INTEGER NOT NULL,
    "key" INTEGER NOT NULL,
    step INTEGER NOT NULL,
    at INTEGER NOT NULL,
    sort INTEGER NOT NULL,
    value REAL NOT NULL,
    CONSTRAINT pk_metric_latest PRIMARY KEY (run, "key")
)
 WITHOUT ROWID,
 STRICT;

CREATE INDEX ix_metric_latest_key_sort_value ON metric_latest ("key", sort, value);

CREATE TABLE param (
    run INTEGER NOT NULL,
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    CONSTRAINT pk_param PRIMARY KEY (run, "key")
)
 WITHOUT ROWID,
 STRICT;

CREATE INDEX ix_param_key_long ON param ("key") WHERE length(value) > 100;

CREATE INDEX ix_param_key_value ON param ("key", value);

CREATE TABLE run (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    project TEXT NOT NULL,
    experiment INTEGER NOT NULL,
    name TEXT NOT NULL,
    parent TEXT NOT NULL,
    status TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    duration INTEGER GENERATED ALWAYS AS (ended_at - started_at) STORED,
    deleted_at INTEGER,
    seed INTEGER,
    created_by TEXT NOT NULL,
    user_id TEXT NOT NULL,
    code TEXT,
    environment TEXT,
    CONSTRAINT uq_run_id UNIQUE (id)
)
 STRICT;

CREATE INDEX ix_run_deleted_at ON run (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE INDEX ix_run_experiment_duration ON run (experiment, duration);

CREATE INDEX ix_run_experiment_ended_at ON run (experiment, ended_at);

CREATE INDEX ix_run_experiment_name ON run (experiment, name);

CREATE INDEX ix_run_experiment_started_at_id ON run (experiment, started_at, id);

CREATE INDEX ix_run_experiment_status_started_at ON run (experiment, status, started_at);

CREATE INDEX ix_run_parent ON run (parent);

CREATE INDEX ix_run_project_started_at_id ON run (project, started_at, id);

CREATE TABLE run_input (
    run INTEGER NOT NULL,
    dataset INTEGER NOT NULL,
    context TEXT NOT NULL,
    tags TEXT NOT NULL,
    CONSTRAINT pk_run_input PRIMARY KEY (run, dataset, context)
)
 STRICT;

CREATE INDEX ix_run_input_dataset ON run_input (dataset);

CREATE TABLE run_model (
    run INTEGER NOT NULL,
    side TEXT NOT NULL,
    model_id TEXT NOT NULL,
    step INTEGER NOT NULL,
    CONSTRAINT pk_run_model PRIMARY KEY (run, side, model_id)
)
 STRICT;

CREATE INDEX ix_run_model_model_id ON run_model (model_id);

CREATE TABLE run_view (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    experiment TEXT NOT NULL,
    filter TEXT NOT NULL,
    order_by TEXT NOT NULL,
    columns TEXT NOT NULL,
    changed_at INTEGER NOT NULL,
    changed_by TEXT NOT NULL,
    CONSTRAINT pk_run_view PRIMARY KEY (project, name)
)
 STRICT;

CREATE TABLE scorer (
    experiment INTEGER NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    id TEXT NOT NULL,
    content TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    CONSTRAINT pk_scorer PRIMARY KEY (experiment, name, version)
)
 STRICT;

CREATE TABLE span (
    trace INTEGER NOT NULL,
    id TEXT NOT NULL,
    started_ns INTEGER NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    content TEXT NOT NULL,
    CONSTRAINT pk_span PRIMARY KEY (trace, id)
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE tag (
    run INTEGER NOT NULL,
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    CONSTRAINT pk_tag PRIMARY KEY (run, "key")
)
 WITHOUT ROWID,
 STRICT;

CREATE INDEX ix_tag_key_long ON tag ("key") WHERE length(value) > 100;

CREATE INDEX ix_tag_key_value ON tag ("key", value) WHERE length(value) <= 100;

CREATE TABLE trace (
    number INTEGER NOT NULL,
    id TEXT NOT NULL,
    project TEXT NOT NULL,
    experiment INTEGER NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    run_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    duration_us INTEGER,
    asked TEXT NOT NULL,
    answered TEXT NOT NULL,
    told INTEGER NOT NULL,
    CONSTRAINT pk_trace PRIMARY KEY (number),
    CONSTRAINT uq_trace_project_id UNIQUE (project, id)
)
 STRICT;

CREATE INDEX ix_trace_experiment_started_at_id ON trace (experiment, started_at, id);

CREATE TABLE trace_link (
    trace INTEGER NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    CONSTRAINT pk_trace_link PRIMARY KEY (trace, kind, target)
)
 WITHOUT ROWID,
 STRICT;

CREATE INDEX ix_trace_link_kind_target ON trace_link (kind, target);

CREATE TABLE trace_metadata (
    trace INTEGER NOT NULL,
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    CONSTRAINT pk_trace_metadata PRIMARY KEY (trace, "key")
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE trace_tag (
    trace INTEGER NOT NULL,
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    CONSTRAINT pk_trace_tag PRIMARY KEY (trace, "key")
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE leaderboard (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    state TEXT NOT NULL,
    dataset TEXT NOT NULL,
    target TEXT NOT NULL,
    "plan" TEXT NOT NULL,
    spent_us INTEGER NOT NULL,
    version INTEGER NOT NULL,
    test TEXT NOT NULL,
    test_use INTEGER NOT NULL,
    error TEXT NOT NULL,
    job_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    CONSTRAINT pk_leaderboard PRIMARY KEY (project, id)
)
 STRICT;

CREATE INDEX ix_leaderboard_created_at ON leaderboard (project, created_at);

CREATE INDEX ix_leaderboard_state ON leaderboard (state);

CREATE TABLE leaderboard_candidate (
    project TEXT NOT NULL,
    leaderboard TEXT NOT NULL,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    family TEXT NOT NULL,
    params TEXT NOT NULL,
    state TEXT NOT NULL,
    run TEXT NOT NULL,
    answers TEXT NOT NULL,
    measured TEXT NOT NULL,
    behind TEXT NOT NULL,
    note TEXT NOT NULL,
    CONSTRAINT pk_leaderboard_candidate PRIMARY KEY (project, leaderboard, position)
)
 STRICT;

INSERT INTO alembic_version (version_num) VALUES ('0001') RETURNING version_num;
